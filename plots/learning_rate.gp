set title title_text
set ylabel "learning rate"
set format y "%.1e"
unset key
plot data using 1:8 linestyle 1
