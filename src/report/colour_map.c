#include "report/colour_map.h"

#include <math.h>

enum { POINTS = 9 };

void vt_colour_at(double u, uint8_t rgb[3])
{
    static const uint8_t point[POINTS][3] = {
        {68, 1, 84},    {71, 44, 122}, {59, 82, 139},  {44, 114, 142}, {33, 145, 140},
        {40, 174, 128}, {94, 201, 98}, {173, 220, 48}, {253, 231, 37},
    };
    double at = (u < 0 ? 0 : u > 1 ? 1 : u) * (POINTS - 1);
    for (int c = 0; c < 3; c++) {
        rgb[c] = 128;
        if (isnan(u))
            continue;
        int i = at < POINTS - 1 ? (int)at : POINTS - 2;
        double t = at - i;
        rgb[c] = (uint8_t)((1 - t) * point[i][c] + t * point[i + 1][c] + 0.5);
    }
}
