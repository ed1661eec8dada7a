#include "lanes.h"

#include "kernels/bf16.h"
#include "kernels/cuda/gpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#define TOLD_OF_STACKS 1
#else
#define TOLD_OF_STACKS 0
#endif

enum { WARP = 32, MOST_THREADS = 1024, STACK_BYTES = 128 << 10 };

enum state { READY, AT_WARP, AT_BLOCK, DONE };

struct fiber {
    vt_lane lane;
    void *stack_top; /* saved while others run */
    state now;
    char *stack;
};

vt_lane *vt_lane_now;
vt_grid vt_grid_now;

static struct {
    fiber fibers[MOST_THREADS];
    uint32_t slots[MOST_THREADS][6];
    int order[MOST_THREADS];
    int n;
    int current;
    void *scheduler_top;
    const void *scheduler_stack;
    size_t scheduler_size;
    const char *name;
    void (*body)(const void *);
    const void *data;
} block;

/* Saves what the System V convention wants kept and goes on at another stack. */
extern "C" void vt_lanes_switch(void **saved, void *to);
__asm__(".text\n"
        ".globl vt_lanes_switch\n"
        "vt_lanes_switch:\n"
        "    pushq %rbp\n    pushq %rbx\n    pushq %r12\n    pushq %r13\n    pushq %r14\n"
        "    pushq %r15\n"
        "    movq %rsp, (%rdi)\n"
        "    movq %rsi, %rsp\n"
        "    popq %r15\n    popq %r14\n    popq %r13\n    popq %r12\n    popq %rbx\n"
        "    popq %rbp\n"
        "    ret\n");

[[noreturn]] static void stop(const char *what)
{
    fprintf(stderr, "kernel %s, block (%u, %u, %u): %s\n", block.name, vt_grid_now.block.x,
            vt_grid_now.block.y, vt_grid_now.block.z, what);
    abort();
}

static void to_scheduler(bool leaving)
{
    fiber *f = &block.fibers[block.current];
#if TOLD_OF_STACKS
    void *fake = nullptr;
    __sanitizer_start_switch_fiber(leaving ? nullptr : &fake, block.scheduler_stack,
                                   block.scheduler_size);
#else
    (void)leaving;
#endif
    vt_lanes_switch(&f->stack_top, block.scheduler_top);
#if TOLD_OF_STACKS
    __sanitizer_finish_switch_fiber(fake, &block.scheduler_stack, &block.scheduler_size);
#endif
}

static void fiber_main()
{
#if TOLD_OF_STACKS
    __sanitizer_finish_switch_fiber(nullptr, &block.scheduler_stack, &block.scheduler_size);
#endif
    block.body(block.data);
    block.fibers[block.current].now = DONE;
    to_scheduler(true);
    abort();
}

static void run_fiber(int i)
{
    fiber *f = &block.fibers[i];
    block.current = i;
    vt_lane_now = &f->lane;
#if TOLD_OF_STACKS
    void *fake = nullptr;
    __sanitizer_start_switch_fiber(&fake, f->stack, STACK_BYTES);
#endif
    vt_lanes_switch(&block.scheduler_top, f->stack_top);
#if TOLD_OF_STACKS
    __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
#endif
}

void vt_lane_wait_for_block()
{
    block.fibers[block.current].now = AT_BLOCK;
    to_scheduler(false);
}

void vt_lane_wait_for_warp()
{
    block.fibers[block.current].now = AT_WARP;
    to_scheduler(false);
}

void *vt_lane_slot(int warp_lane)
{
    return block.slots[block.current / WARP * WARP + warp_lane];
}

float vt_value_bf16(uint32_t bits, int half)
{
    return vt_bf16_to_float(uint16_t(bits >> 16 * half));
}

/* The core reads no more than 19 bits. */
float vt_value_tf32(uint32_t bits, int)
{
    float x;
    bits &= ~0x1fffu;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Of the numbers a register holds, `pack` neighbours, lane t = lane % 4 has those from pack * t of
 * the first four registers' worth of terms, and of the second. */
void vt_lanes_multiply(float c[4], const uint32_t a[4], const uint32_t b[2], vt_value_of *value,
                       int k)
{
    const int lane = vt_lane_now->warp_lane, g = lane / 4, t = lane % 4, pack = k / 8;
    uint32_t *mine = static_cast<uint32_t *>(vt_lane_slot(lane));
    memcpy(mine, a, 4 * sizeof *a);
    memcpy(mine + 4, b, 2 * sizeof *b);
    vt_lane_wait_for_warp();
    for (int i = 0; i < 4; i++) {
        const int row = g + 8 * (i / 2), column = 2 * t + i % 2;
        double sum = c[i];
        for (int term = 0; term < k; term++) {
            const int second = term / (4 * pack), from = term / pack % 4;
            const uint32_t *left = static_cast<uint32_t *>(vt_lane_slot(row % 8 * 4 + from));
            const uint32_t *right = static_cast<uint32_t *>(vt_lane_slot(column * 4 + from));
            sum += double(value(left[2 * second + row / 8], term % pack)) *
                   double(value(right[4 + second], term % pack));
        }
        c[i] = float(sum);
    }
    vt_lane_wait_for_warp();
}

void vt_lanes_load_matrices(uint32_t to[4], const void *row, bool turned)
{
    const int lane = vt_lane_now->warp_lane, g = lane / 4, t = lane % 4;
    if (reinterpret_cast<uintptr_t>(row) % 16 != 0)
        stop("a matrix's row begins between two quads");
    memcpy(vt_lane_slot(lane), &row, sizeof row);
    vt_lane_wait_for_warp();
    for (int i = 0; i < 4; i++) {
        uint16_t half[2];
        for (int e = 0; e < 2; e++) {
            const int from = turned ? 2 * t + e : g, column = turned ? g : 2 * t + e;
            const uint16_t *values;
            memcpy(&values, vt_lane_slot(8 * i + from), sizeof values);
            half[e] = values[column];
        }
        to[i] = half[0] | uint32_t(half[1]) << 16;
    }
    vt_lane_wait_for_warp();
}

static void prepare_fiber(int i)
{
    fiber *f = &block.fibers[i];
    if (!f->stack) {
        void *stack = mmap(nullptr, STACK_BYTES, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (stack == MAP_FAILED)
            stop("no memory for the threads' stacks");
        f->stack = static_cast<char *>(stack);
    }
    f->lane.thread = dim3(unsigned(i), 0, 0);
    f->lane.warp_lane = i % WARP;
    f->now = READY;
    /* Six saved registers, then the address to return to; a call leaves the stack 8 bytes off 16.
     */
    void **top = reinterpret_cast<void **>(f->stack + STACK_BYTES) - 1;
    *--top = reinterpret_cast<void *>(fiber_main);
    top -= 6;
    memset(top, 0, 6 * sizeof *top);
    f->stack_top = top;
}

static int count(state what, int first, int last)
{
    int n = 0;
    for (int i = first; i < last; i++)
        n += block.fibers[i].now == what;
    return n;
}

static void release(int first, int last)
{
    for (int i = first; i < last; i++)
        block.fibers[i].now = READY;
}

/* Lets a warp go on whose threads have all met. */
static bool release_warp(int first, int last)
{
    if (count(AT_WARP, first, last) == 0)
        return false;
    if (last - first < WARP)
        stop("a warp of fewer than 32 threads hands values over");
    if (count(DONE, first, last) > 0)
        stop("a thread has left, and others of its warp wait for it");
    if (count(AT_WARP, first, last) != WARP)
        return false;
    release(first, last);
    return true;
}

/* Lets go on who has met all the others. False: all are done. */
static bool release_waiting()
{
    bool released = false;
    if (count(DONE, 0, block.n) == block.n)
        return false;
    for (int first = 0; first < block.n; first += WARP)
        released |= release_warp(first, first + WARP < block.n ? first + WARP : block.n);
    if (released)
        return true;
    if (count(AT_BLOCK, 0, block.n) != block.n)
        stop(count(DONE, 0, block.n) > 0 ? "a thread has left, and others wait at a barrier"
                                         : "threads wait at different barriers");
    release(0, block.n);
    return true;
}

static uint32_t mixed(uint32_t x)
{
    x = (x ^ (x >> 16)) * 0x7feb352du;
    x = (x ^ (x >> 15)) * 0x846ca68bu;
    return x ^ (x >> 16);
}

static uint32_t order_seed()
{
    const char *text = getenv("VITRINE_LANE_ORDER");
    return text && text[0] >= '0' && text[0] <= '9' ? uint32_t(strtoul(text, nullptr, 10)) : 0;
}

static bool order_reversed()
{
    const char *text = getenv("VITRINE_LANE_ORDER");
    return text && strcmp(text, "reverse") == 0;
}

static void choose_order(int *order, int n, uint32_t seed, bool reversed)
{
    for (int i = 0; i < n; i++)
        order[i] = reversed ? n - 1 - i : i;
    for (int i = n - 1; seed && i > 0; i--) {
        const int j = int(mixed(seed + uint32_t(i)) % uint32_t(i + 1)), other = order[j];
        order[j] = order[i];
        order[i] = other;
    }
}

static void run_ready(const int *order, int n)
{
    for (int i = 0; i < n; i++)
        if (block.fibers[order[i]].now == READY)
            run_fiber(order[i]);
}

/* One warp after the other, each as far as it gets without the rest of the block. */
static void run_warps(bool reversed)
{
    const int warps = (block.n + WARP - 1) / WARP;
    for (int i = 0; i < warps; i++) {
        const int first = WARP * (reversed ? warps - 1 - i : i);
        const int last = first + WARP < block.n ? first + WARP : block.n;
        do
            run_ready(block.order + (reversed ? block.n - last : first), last - first);
        while (release_warp(first, last));
    }
}

static void run_block(bool shuffled, bool reversed)
{
    for (int i = 0; i < block.n; i++)
        prepare_fiber(i);
    do
        if (shuffled)
            run_ready(block.order, block.n);
        else
            run_warps(reversed);
    while (release_waiting());
}

void vt_lanes_run(const char *name, dim3 blocks, unsigned threads, size_t shared,
                  void (*body)(const void *), const void *data)
{
    const uint32_t seed = order_seed();
    const bool reversed = order_reversed();
    const uint64_t n_blocks = uint64_t(blocks.x) * blocks.y * blocks.z;
    block.name = name;
    block.body = body;
    block.data = data;
    block.n = int(threads);
    vt_grid_now.threads = dim3(threads);
    vt_grid_now.blocks = blocks;
    if (threads == 0 || threads > MOST_THREADS || blocks.x > 0x7fffffffu || blocks.y > 65535 ||
        blocks.z > 65535 || shared > VT_MOST_SHARED)
        stop("a launch that no GPU takes");
    choose_order(block.order, block.n, seed, reversed);
    for (uint64_t i = 0; i < n_blocks; i++) {
        const uint64_t at = reversed ? n_blocks - 1 - i : i;
        vt_grid_now.block = dim3(unsigned(at % blocks.x), unsigned(at / blocks.x % blocks.y),
                                 unsigned(at / blocks.x / blocks.y));
        /* A block of its own, so that its bounds are watched. */
        vt_grid_now.shared = aligned_alloc(128, (shared + 127) / 128 * 128);
        if (!vt_grid_now.shared)
            stop("no memory for a block");
        memset(vt_grid_now.shared, 0xff, (shared + 127) / 128 * 128);
        run_block(seed != 0, reversed);
        free(vt_grid_now.shared);
    }
    vt_grid_now.shared = nullptr;
}
