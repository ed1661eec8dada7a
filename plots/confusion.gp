# Draws a confusion matrix as described above: a row for each true class, darkness by the share of
# the row, and at the right the share on the diagonal, which is the class's accuracy.
unset grid
unset colorbox
set palette defined (0 "#fefefe", 0.01 "#e6f0fa", 0.15 "#c2d8ee", \
    0.5 "#6f9fd0", 1 "#08306b")
set cbrange [0:1]
set xrange [-0.5 : classes - 0.5]
set yrange [classes - 0.5 : -0.5]
set border 15 linecolor rgb "#444444" linewidth 0.6
set tics scale 0
ten = classes > 20 ? 10 : 1
if (named) {
    set xtics rotate by 90 right ("" 0)
    set ytics ("" 0)
    do for [k = 1:classes] {
        set xtics add (class[k] k - 1)
        set ytics add (class[k] k - 1)
    }
} else {
    set xtics ten offset character 0, 0.4
    set ytics ten offset character 0.6, 0
}
set label 100 sprintf(title) at screen 0.08 / width, screen 1 - 0.13 / height textcolor rgb ink
set label 101 "predicted" at screen (left + side / 2) / width, screen 0.12 / height center \
    textcolor rgb soft
set label 102 "true" at screen 0.14 / width, screen (bottom + side / 2) / height center \
    rotate by 90 textcolor rgb soft

# In the cells, which stay as they are on a dark page, the numbers do too.
in_cell(share) = share > 0.5 ? 0xfefefe : share > 0 ? 0x212121 : 0xb0b0b0
percent = width > 4 ? "%.1f %%" : "%.0f %%"

do for [f in formats] {
    eval terminal_of(f)
    set output sprintf("%s.%s", name, f)
    set lmargin at screen left / width
    set rmargin at screen (left + side) / width
    set bmargin at screen bottom / height
    set tmargin at screen (bottom + side) / height
    small = font_of(f, 8)
    set tics font small
    # Many cells are an image in the picture, few are rectangles.
    plot for [k = 1:named] data skip 1 using 2:1:6 with image pixels, \
        for [k = 1:1 - named] data skip 1 using 2:1:6 with image, \
        for [k = 1:counted] data skip 1 using 2:1:5:(in_cell($6)) \
            with labels font small textcolor rgb variable, \
        for [k = 1:named] data skip 1 \
            using (classes - 0.5):($1 == $2 ? $1 : NaN):(sprintf(percent, 100 * $6)) \
            with labels left offset character 0.5, 0 font small textcolor rgb ink
    unset output
}
