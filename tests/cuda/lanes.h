/*
 * Threads of a GPU's blocks on one thread of the processor. Each has a stack of its own and runs
 * until it waits for its block or its warp; blocks come one after the other. The order of the
 * threads (and of the blocks) is set by VITRINE_LANE_ORDER: forward and reverse take warp after
 * warp, each as far as it gets without the others; with a number, from which one is shuffled, no
 * warp is ahead of another. What depends on it is a kernel that lacks a barrier.
 *
 * Ends the program: a thread that leaves, or waits elsewhere, while others wait at a barrier.
 */
#ifndef VT_TESTS_CUDA_LANES_H
#define VT_TESTS_CUDA_LANES_H

#include <stddef.h>
#include <stdint.h>

struct vt_gpu;

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : x(a), y(b), z(c)
    {
    }
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct alignas(8) float2 {
    float x, y;
};
static inline float4 make_float4(float x, float y, float z, float w)
{
    return {x, y, z, w};
}

struct vt_lane {
    dim3 thread;
    int warp_lane;
};
extern vt_lane *vt_lane_now;

struct vt_grid {
    dim3 block, threads, blocks;
    void *shared;
};
extern vt_grid vt_grid_now;

void vt_lane_wait_for_block();
void vt_lane_wait_for_warp();
/* 24 bytes for each thread of the warp, to hand values over. */
void *vt_lane_slot(int warp_lane);

/* A tensor core's product, as kernels/cuda/nvcc/port.h lays it out among the threads of a warp, k
 * terms; `value` takes a number out of its register. */
typedef float vt_value_of(uint32_t bits, int half);
float vt_value_bf16(uint32_t bits, int half);
float vt_value_tf32(uint32_t bits, int half);
void vt_lanes_multiply(float c[4], const uint32_t a[4], const uint32_t b[2], vt_value_of *value,
                       int k);
/* Four 8 x 8 matrices of 16-bit values out of rows that the lanes name, as port.h says. */
void vt_lanes_load_matrices(uint32_t to[4], const void *row, bool turned);

/* Runs body(data) once in each thread of the grid, or notes it if the GPU is recording. */
void vt_lanes_launch(vt_gpu *gpu, const char *name, dim3 blocks, unsigned threads, size_t shared,
                     void (*body)(const void *), const void *data, size_t data_size);
/* The same at once. */
void vt_lanes_run(const char *name, dim3 blocks, unsigned threads, size_t shared,
                  void (*body)(const void *), const void *data);

#endif
