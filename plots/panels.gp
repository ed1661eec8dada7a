nth(list, k) = k > words(list) ? 1 : int(word(list, k))

# Draws the panels that are described above, each at its place, in every format. Texts and samples
# of lines lie anywhere on the paper; a terminal shows the panels one below the other, with keys.
do for [f in formats] {
    paper = f ne "dumb"
    eval terminal_of(f)
    if (paper) {
        set output sprintf("%s.%s", name, f)
        set multiplot
    }
    do for [p = 1:panels] {
        unset label
        unset arrow
        if (paper) {
            set lmargin at screen left[p] / width
            set rmargin at screen (left[p] + wide[p]) / width
            set bmargin at screen bottom[p] / height
            set tmargin at screen (bottom[p] + tall[p]) / height
        } else {
            set title heading[p]
            set key outside right center Left reverse samplen 2
            unset grid
        }
        if (paper && p == 1) {
            do for [t = 1:texts] {
                eval sprintf("set label %d phrase[%d] at screen text_x[%d] / width, \
                    screen text_y[%d] / height %s textcolor rgb %s font '%s'", t, t, t, t, \
                    text_side[t], text_ink[t], font_of(f, text_points[t]))
            }
            do for [s = 1:samples] {
                set arrow s from screen sample_x[s] / width, screen sample_y[s] / height \
                    to screen (sample_x[s] + sample_length[s]) / width, \
                    screen sample_y[s] / height nohead linestyle sample_style[s]
                set label texts + s "" at screen (sample_x[s] + sample_length[s] / 2) / width, \
                    screen sample_y[s] / height point linestyle sample_style[s]
            }
        }
        if (log_y[p]) {
            set logscale y
        } else {
            unset logscale y
        }
        set xrange [x_min[p] : x_max[p]]
        set yrange [y_min[p] : y_max[p]]
        eval "set xtics " . x_tics[p] . " offset character 0, " . (paper ? "0.3" : "0")
        eval "set ytics " . y_tics[p] . " offset character " . (paper ? "0.6" : "0") . ", 0"
        if (grid_x[p]) {
            set grid xtics
        } else {
            set grid noxtics
        }
        # How: 0 lines in bands, 1 steps, 2 dots with whiskers along x.
        plot for [b = 1:paper && how[p] == 0 ? words(banded[p]) : 0] \
                data using int(x_column[nth(banded[p], b)]):int(low_column[nth(banded[p], b)]):int(high_column[nth(banded[p], b)]) \
                skip 1 with filledcurves fillcolor rgb color_of(style[nth(banded[p], b)] / 10) \
                fillstyle transparent solid 0.2 noborder notitle, \
            for [k = first[p]:how[p] == 0 ? last[p] : 0] \
                data using int(x_column[k]):int(y_column[k]) skip 1 \
                with linespoints linestyle style[k] pointinterval marks[k] title curve[k], \
            for [k = first[p]:how[p] == 1 ? last[p] : 0] \
                data using int(x_column[k]):int(y_column[k]) skip 1 \
                with histeps linestyle style[k] notitle, \
            for [b = 1:how[p] == 2 ? words(banded[p]) : 0] \
                data using int(y_column[nth(banded[p], b)]):int(x_column[nth(banded[p], b)]):\
                int(low_column[nth(banded[p], b)]):int(high_column[nth(banded[p], b)]) skip 1 \
                with xerrorbars linestyle style[nth(banded[p], b)] pointsize 0 notitle, \
            for [k = first[p]:how[p] == 2 ? last[p] : 0] \
                data using int(y_column[k]):int(x_column[k]) skip 1 \
                with points linestyle style[k] pointsize 0.6 notitle
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
