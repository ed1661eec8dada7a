set title title_text
set ylabel "learning rate"
set format y "%g"
unset key
plot data using 1:8 linestyle 1
