# Time of an image beside the floor over batch, width, tokens and threads: scripts/growth.
#   gnuplot -e "data = 'growth.tsv'; out = 'growth.svg'" plots/growth.gp
width = 6.9
height = 5.2
load "plots/style.gp"
eval terminal_of("svg")
set output out
set logscale xy
set format y "%g"
array about[4] = ["images in a batch", "width (dim)", "tokens of an image", "threads"]
array places[4] = ["1, 4, 16, 64, 256", "32, 64, 128, 256, 512", "5, 17, 65, 257, 1025", "1, 2"]
set key top left Left reverse samplen 2 textcolor rgb ink
set ylabel "ms an image" textcolor rgb ink offset 1, 0
set multiplot layout 2, 2 margins 0.09, 0.985, 0.11, 0.985 spacing 0.1, 0.15
do for [i = 0:3] {
    set xlabel about[i + 1] textcolor rgb ink offset 0, 0.4
    eval sprintf("set xtics (%s)", places[i + 1])
    if (i > 0) {
        unset key
    }
    stats data index i using 2 nooutput
    set xrange [STATS_min / 1.2 : STATS_max * 1.2]
    plot data index i using 2:6 skip (i == 0 ? 1 : 0) with lines linestyle 2 title "floor", \
        data index i using 2:4:5 skip (i == 0 ? 1 : 0) with filledcurves fillcolor rgb color_of(1) \
            fillstyle transparent solid 0.2 noborder notitle, \
        data index i using 2:3 skip (i == 0 ? 1 : 0) with linespoints linestyle 11 title "measured"
}
unset multiplot
