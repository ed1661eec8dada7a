set title title_text
set ylabel "loss (nat)"
plot data using 1:2 linestyle 1 title "train", \
     @val_loss \
     data using 1:4 linestyle 2 title "test"
