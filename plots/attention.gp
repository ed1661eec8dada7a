# Draws the panels, which are one picture, and the texts on them: style, x, y, colour, text. One unit
# of both axes is an inch; y points down, as the rows of a picture do.
unset grid
unset border
unset tics
unset key
set xrange [0 : width]
set yrange [height : 0]
set datafile missing "NaN"
set datafile commentschars ""
is(style) = column(1) == style ? column(2) : NaN

do for [f in formats] {
    eval terminal_of(f)
    set output sprintf("%s.%s", name, f)
    set lmargin at screen 0
    set rmargin at screen 1
    set bmargin at screen 0
    set tmargin at screen 1
    plot panels binary filetype=png flipy dx=pixel dy=pixel origin=(pixel / 2, pixel / 2) with rgbimage, \
        texts using (is(0)):3:5:4 with labels left font font_of(f, 8) textcolor rgb variable, \
        texts using (is(1)):3:5:4 with labels left font font_of(f, 7) textcolor rgb variable, \
        texts using (is(2)):3:5:4 with labels center font font_of(f, 7) textcolor rgb variable
    unset output
}
