# Draws the panels that are described above, each at its place, in every format. Curves carry their
# names at their right ends; a panel's heading says what its values are.
do for [f in formats] {
    paper = f ne "dumb"
    eval terminal_of(f)
    if (paper) {
        eval sprintf("set output '%s.%s'", name, f)
        set multiplot
    }
    do for [p = 1:panels] {
        unset label
        if (paper) {
            set lmargin at screen left[p] / width
            set rmargin at screen (left[p] + panel_width) / width
            set bmargin at screen bottom[p] / height
            set tmargin at screen (bottom[p] + panel_height) / height
            set label 100 title[p] at graph 0, graph 1 offset character -4, 2.05
            set label 101 heading[p] at graph 0, graph 1 offset character -4, 1.0 \
                textcolor rgb "#444444"
            set xlabel x_name[p] offset 0, 0.6
        } else {
            set title heading[p]
            set rmargin 8
            unset grid
        }
        set format x x_name[p] eq "" && paper ? "" : "%g"
        set format y y_format[p]
        set xrange [x_min[p] : x_max[p]]
        set yrange [y_min[p] : y_max[p]]
        set xtics x_step[p]
        set ytics y_step[p] offset character (paper ? 0.6 : 0), 0
        do for [k = 1:words(names[p])] {
            set label k word(names[p], k) at graph 1, first word(name_y[p], k) + 0 \
                offset character (paper ? 0.8 : 1.5), 0 textcolor linestyle word(styles[p], k) + 0
        }
        plot for [k = 1:words(columns[p])] data[p] \
            using 1:(column(word(columns[p], k) + 0) * factor[p]) \
            with linespoints linestyle word(styles[p], k) + 0 \
            pointinterval word(marks[p], k) + 0
        if (!paper) {
            set print "-"
            print ""
        }
    }
    if (paper) {
        unset multiplot
    }
    unset output
}
