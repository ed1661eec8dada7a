# What every figure looks like: change it here for all of them, or in the script beside a figure for
# that one alone. Lengths are inches; text is of 9 points, small text of 8.
png_dpi = 200

set encoding utf8
set datafile separator tab

# Terminals. Text is taken as it is, because names hold underscores. In SVG a point is 4/3 pixels,
# and the reader's own font is used; the two of cairo take a point for 4/3 of one.
pixels(inches, dpi) = int(inches * dpi + 0.5)
terminal_svg = sprintf("svg size %d,%d font 'sans-serif,12' background 'white'", \
    pixels(width, 96), pixels(height, 96))
terminal_png = sprintf("pngcairo size %d,%d font 'Sans,9' fontscale %g linewidth %g pointscale %g", \
    pixels(width, png_dpi), pixels(height, png_dpi), \
    png_dpi / 96.0, png_dpi / 96.0, png_dpi / 96.0)
terminal_pdf = sprintf("pdfcairo size %gin,%gin font 'Sans,9' fontscale 0.75", width, height)
terminal_of(f) = "set terminal " . (f eq "svg" ? terminal_svg : f eq "png" ? terminal_png : \
    f eq "pdf" ? terminal_pdf : "dumb nofeed size 79,20") . " noenhanced"
font_of(f, points) = f eq "svg" ? sprintf("sans-serif,%.4g", points * 4 / 3.0) : \
    sprintf("Sans,%g", points)

# Series: colours that differ for every kind of sight and stand out from white, each with a point
# type of its own; after eight the colours come again with other points and long dashes. Style 10 s + d is series s
# with dash d: 1 solid (test), 2 dashed (train), 3 dashes and dots (validation).
palette = "#0072b2 #d55e00 #009e73 #cc79a7 #c98500 #3a9bd9 #222222 #7f7f7f"
ink = "#222222"
soft = "#555555"
filled = "7 5 9 13 11 15 2 1 5 9 13 11 15 7 1 2"
hollow = "6 4 8 12 10 14 2 1 4 8 12 10 14 6 1 2"
color_of(s) = s < 1 ? soft : word(palette, (s - 1) % 8 + 1)
set dashtype 2 (8, 4)
set dashtype 3 (8, 3, 2, 3)
set dashtype 4 (16, 3)
do for [s = 1:16] {
    do for [d = 1:3] {
        set style line 10 * s + d linecolor rgb color_of(s) dashtype d == 1 && s > 8 ? 4 : d linewidth 1.3 \
            pointtype int(word(d == 1 ? filled : hollow, s)) pointsize d == 1 ? 0.38 : 0.42
    }
}
# Lines that belong to no series: 1 to 3 with the dashes above, for explanations; 4 a thin one.
do for [d = 1:3] {
    set style line d linecolor rgb soft dashtype d linewidth 1.3 pointtype 7 pointsize 0
}
set style line 4 linecolor rgb soft dashtype 1 linewidth 0.6 pointtype 7 pointsize 0

set border 3 linecolor rgb "#444444" linewidth 0.6
set tics nomirror out scale 0.5 textcolor rgb ink
set grid ytics linetype 1 linecolor rgb "#d8d8d8" dashtype 1 linewidth 0.5
unset key
