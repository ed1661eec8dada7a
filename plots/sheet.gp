# Draws the sheet of pictures that is described above. One unit of both axes is an inch; y points
# down, as the rows of a picture do.
unset grid
unset border
unset tics
unset key
set xrange [0 : width]
set yrange [height : 0]
set datafile missing "NaN"

x(i) = left + across * (int(i) % columns) + (across - image) / 2.0
y(i) = top + down * (int(i) / columns) + line * (1 + two_lines + probability) + 0.04
row(i) = y(i) - line * (two_lines + probability + 0.45)
ink(predicted, truth) = predicted eq truth ? 0x1a7f37 : 0xc62828
set label 100 title at left + (across - image) / 2.0, top / 2.0 - 0.03

do for [f in formats] {
    eval terminal_of(f)
    set output sprintf("%s.%s", name, f)
    set lmargin at screen 0
    set rmargin at screen 1
    set bmargin at screen 0
    set tmargin at screen 1
    small = font_of(f, 8)
    plot for [i = 0:images - 1] pixels binary skip=3 * side * side * i array=(side, side) \
            format="%uchar" dx=image / side dy=image / side \
            origin=(x(i) + image / side / 2.0, y(i) + image / side / 2.0) with rgbimage, \
        data skip 1 using (x($0) + image / 2.0):(row($0)):\
            (two_lines ? strcol(4) . "," : sprintf("%s, (%s)", strcol(4), strcol(3))):\
            (ink(strcol(4), strcol(3))) with labels font small textcolor rgb variable, \
        for [k = 1:two_lines] data skip 1 using (x($0) + image / 2.0):(row($0) + line):\
            (sprintf("(%s)", strcol(3))):(ink(strcol(4), strcol(3))) \
            with labels font small textcolor rgb variable, \
        for [k = 1:probability] data skip 1 \
            using (x($0) + image / 2.0):(row($0) + line * (1 + two_lines)):\
            (sprintf("%.1f %%  #%s", 100 * $5, strcol(1))) \
            with labels font small textcolor rgb "#666666"
    unset output
}
