# Loss, accuracy and learning rate of one run above each other, on one epoch axis.
set multiplot layout 3, 1 title title_text
set key outside right center vertical
set rmargin 12
unset xlabel
set format x ""
set ylabel "loss (nat)"
plot data using 1:2 linestyle 1 title "train", \
     @val_loss \
     data using 1:4 linestyle 2 title "test"
set ylabel "accuracy (%)"
plot data using 1:3 linestyle 1 title "train", \
     @val_accuracy \
     data using 1:5 linestyle 2 title "test"
set format x "%g"
set xlabel "epoch"
set ylabel "learning rate"
set format y "%g"
unset key
plot data using 1:8 linestyle 1
unset multiplot
