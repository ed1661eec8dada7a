# What all figures share: type, colours that the colour-blind can tell apart, thin grid, no frame.
# Variables given: format (svg, png, pdf, dumb), output, title_text, panels (1 or 3).
height = panels == 1 ? 0.64 : 1.5
if (format eq "svg") set terminal svg size 640, 640 * height noenhanced font "DejaVu Sans,13" background "white"
if (format eq "png") set terminal pngcairo size 1280, 1280 * height noenhanced font "DejaVu Sans,13" fontscale 1.7 linewidth 2
if (format eq "pdf") set terminal pdfcairo size 6.9, 6.9 * height noenhanced font "DejaVu Sans,10"
if (format eq "dumb") set terminal dumb 79, (panels == 1 ? 24 : 60) noenhanced
if (format ne "dumb") set output output
set encoding utf8
set datafile separator tab
set datafile missing "?"
set colorsequence podo
set border 3 linewidth 0.8
set tics nomirror out scale 0.6
set grid ytics linetype 1 linecolor rgb "#dddddd" linewidth 0.6
set key outside bottom center horizontal
set lmargin 11
set rmargin 4
set xlabel "epoch"
set xrange [first_epoch - 0.5 : last_epoch + 0.5]
set xtics out
if (last_epoch - first_epoch < 8) set xtics first_epoch, 1, last_epoch
points = last_epoch - first_epoch < 40 ? "linespoints" : "lines"
set style line 1 linecolor rgb "#0072b2" linewidth 1.8 pointtype 7 pointsize 0.8 dashtype 1
set style line 2 linecolor rgb "#d55e00" linewidth 1.8 pointtype 5 pointsize 0.8 dashtype 2
set style line 3 linecolor rgb "#009e73" linewidth 1.8 pointtype 9 pointsize 0.9 dashtype 4
set style line 4 linecolor rgb "#cc79a7" linewidth 1.8 pointtype 13 pointsize 0.9 dashtype 5
set style line 5 linecolor rgb "#e69f00" linewidth 1.8 pointtype 11 pointsize 0.9 dashtype 1
set style line 6 linecolor rgb "#56b4e9" linewidth 1.8 pointtype 6 pointsize 0.9 dashtype 2
set style line 7 linecolor rgb "#000000" linewidth 1.8 pointtype 4 pointsize 0.9 dashtype 4
set style line 8 linecolor rgb "#999999" linewidth 1.8 pointtype 8 pointsize 0.9 dashtype 5
set style data linespoints
if (points eq "lines") set style data lines
# A series only where there is a validation part.
val_loss = has_val ? "data using 1:6 linestyle 3 title 'val'," : ""
val_accuracy = has_val ? "data using 1:7 linestyle 3 title 'val'," : ""
