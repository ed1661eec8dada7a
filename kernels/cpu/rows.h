/*
 * Loops over rows and flat arrays, sixteen values at a time, the last lanes partly filled:
 *
 *     for (int64_t i = 0; i < n; i += VT_LANES)
 *         vstore_upto(y + i, vexp(vload_upto(x + i, n - i)), n - i);
 */
#ifndef VT_KERNELS_CPU_ROWS_H
#define VT_KERNELS_CPU_ROWS_H

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/lanes.h"

/* Elements of a chunk of work on a flat array: 64 KiB of floats, a multiple of VT_LANES. */
enum { VT_FLAT_CHUNK = 16384 };

/* The first min(left, 16) values; the other lanes read as 0 and are not stored. left > 0. */
VT_INLINE vt_lanes vload_upto(const float *p, int64_t left)
{
    return left >= VT_LANES ? vload(p) : vload_first(p, left);
}
VT_INLINE void vstore_upto(float *p, vt_lanes a, int64_t left)
{
    if (left >= VT_LANES)
        vstore(p, a);
    else
        vstore_first(p, a, left);
}

/* Whether n floats at p are written past the caches: they would not fit, and written the usual way
 * each line is read from memory before. Whole lines only. */
enum { VT_STREAM_FLOATS = 2 << 20 };
VT_INLINE bool vt_streams(const float *p, int64_t n)
{
    return n >= VT_STREAM_FLOATS && (uintptr_t)p % (VT_LANES * sizeof *p) == 0;
}
/* With `stream` p is a multiple of 64 bytes, and vstream_end follows the loop. */
VT_INLINE void vput_upto(float *p, bool stream, vt_lanes a, int64_t left)
{
    if (stream && left >= VT_LANES)
        vstream(p, a);
    else
        vstore_upto(p, a, left);
}

/* p = a, or p += a: how a gradient is handed on. */
VT_INLINE void vgive_upto(float *p, bool write, vt_lanes a, int64_t left)
{
    vstore_upto(p, write ? a : vadd(vload_upto(p, left), a), left);
}

#endif
