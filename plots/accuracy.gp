set title title_text
set ylabel "accuracy (%)"
plot data using 1:3 linestyle 1 title "train", \
     @val_accuracy \
     data using 1:5 linestyle 2 title "test"
