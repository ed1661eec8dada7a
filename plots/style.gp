# What every figure looks like: change it here for all of them, or in the script beside a figure for
# that one alone. Lengths are inches, text is of 9 points.
font = "Sans,9"
png_dpi = 200

set encoding utf8
set datafile separator tab
set datafile missing NaN

# Terminals. Text is taken as it is, because names hold underscores.
pixels(inches, dpi) = int(inches * dpi + 0.5)
terminal_svg = sprintf("svg size %d,%d font 'Sans,12' background 'white'", \
    pixels(width, 96), pixels(height, 96))
terminal_png = sprintf("pngcairo size %d,%d font '%s' fontscale %g linewidth %g pointscale %g", \
    pixels(width, png_dpi), pixels(height, png_dpi), font, \
    png_dpi / 72.0, png_dpi / 72.0, png_dpi / 72.0)
terminal_pdf = sprintf("pdfcairo size %gin,%gin font '%s' fontscale 1", width, height, font)
terminal_of(f) = "set terminal " . (f eq "svg" ? terminal_svg : f eq "png" ? terminal_png : \
    f eq "pdf" ? terminal_pdf : "dumb nofeed size 79,18") . " noenhanced"

# Curves: 1 train, 2 validation, 3 test, 4 one that is alone. Colours of the podo sequence, which
# differ for every kind of sight, and a dash and a point type of each one's own.
set colorsequence podo
set style line 1 linetype 6 dashtype (8, 4) linewidth 1.3 pointtype 6 pointsize 0.4
set style line 2 linetype 4 dashtype (8, 3, 2, 3) linewidth 1.3 pointtype 8 pointsize 0.45
set style line 3 linetype 7 dashtype 1 linewidth 1.3 pointtype 7 pointsize 0.35
set style line 4 linetype 1 dashtype 1 linewidth 1.3 pointtype 5 pointsize 0.3

set border 3 linecolor rgb "#444444" linewidth 0.6
set tics nomirror out scale 0.5 textcolor rgb "#222222"
set grid ytics linetype 1 linecolor rgb "#d8d8d8" dashtype 1 linewidth 0.5
unset key
