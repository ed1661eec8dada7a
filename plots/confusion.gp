# Draws a confusion matrix as described above: a row for each true class, darkness by the share of
# the row, and at the right the share on the diagonal, which is the class's accuracy.
unset grid
unset colorbox
set palette defined (0 "#ffffff", 0.01 "#e6f0fa", 0.15 "#c2d8ee", \
    0.5 "#6f9fd0", 1 "#08306b")
set cbrange [0:1]
set xrange [-0.5 : classes - 0.5]
set yrange [classes - 0.5 : -0.5]
set border 15 linecolor rgb "#444444" linewidth 0.6
set tics scale 0
if (named) {
    set xtics rotate by 90 right ("" 0)
    set ytics ("" 0)
    do for [k = 1:classes] {
        set xtics add (class[k] k - 1)
        set ytics add (class[k] k - 1)
    }
} else {
    set xtics 10
    set ytics 10
}
set label 100 title at screen 0.12 / width, screen (bottom + side) / height \
    offset character 0, 1.2
set label 101 "predicted" at screen (left + side / 2) / width, screen 0.17 / height center \
    textcolor rgb "#444444"
set label 102 "true" at screen 0.17 / width, screen (bottom + side / 2) / height center \
    rotate by 90 textcolor rgb "#444444"

ink(share) = share > 0.5 ? 0xffffff : share > 0 ? 0x222222 : 0xc0c0c0
percent = counted ? "%.1f %%" : "%.0f %%"

do for [f in formats] {
    eval terminal_of(f)
    set output sprintf("%s.%s", name, f)
    set lmargin at screen left / width
    set rmargin at screen (left + side) / width
    set bmargin at screen bottom / height
    set tmargin at screen (bottom + side) / height
    plot data skip 1 using 2:1:6 with image pixels, \
        for [k = 1:counted] data skip 1 using 2:1:5:(ink($6)) with labels textcolor rgb variable, \
        for [k = 1:named] data skip 1 \
            using (classes - 0.5):($1 == $2 ? $1 : NaN):(sprintf(percent, 100 * $6)) \
            with labels left offset character 0.7, 0
    unset output
}
