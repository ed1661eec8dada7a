# The newest run of every experiment: test loss, test accuracy, learning rate. Variables given
# beside those of style.gp: files and names, one word a run.
set multiplot layout 3, 1 title title_text
unset key
set rmargin 4
unset xlabel
set format x ""
set ylabel "test loss (nat)"
plot for [i = 1:words(files)] word(files, i) using 1:4 linestyle ((i - 1) % 8 + 1) notitle
set ylabel "test accuracy (%)"
plot for [i = 1:words(files)] word(files, i) using 1:5 linestyle ((i - 1) % 8 + 1) notitle
set format x "%g"
set xlabel "epoch"
set ylabel "learning rate"
set format y "%g"
set key outside bottom center horizontal
plot for [i = 1:words(files)] word(files, i) using 1:8 linestyle ((i - 1) % 8 + 1) title word(names, i)
unset multiplot
