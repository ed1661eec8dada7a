/* The GPU through CUDA's runtime; cuBLASLt is loaded when one is opened. */
#include "kernels/cuda/common.cuh"

#include <cublasLt.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What is used of cuBLASLt. */
#define LT_LIST(X)                                                                                 \
    X(cublasLtCreate)                                                                              \
    X(cublasLtDestroy)                                                                             \
    X(cublasLtMatmul)                                                                              \
    X(cublasLtMatmulDescCreate)                                                                    \
    X(cublasLtMatmulDescDestroy)                                                                   \
    X(cublasLtMatmulDescSetAttribute)                                                              \
    X(cublasLtMatrixLayoutCreate)                                                                  \
    X(cublasLtMatrixLayoutDestroy)                                                                 \
    X(cublasLtMatrixLayoutSetAttribute)                                                            \
    X(cublasLtMatmulPreferenceCreate)                                                              \
    X(cublasLtMatmulPreferenceDestroy)                                                             \
    X(cublasLtMatmulPreferenceSetAttribute)                                                        \
    X(cublasLtMatmulAlgoGetHeuristic)                                                              \
    X(cublasLtMatmulAlgoConfigGetAttribute)

enum { WORKSPACE_BYTES = 32 << 20, EVENTS = 64, STAGE_BYTES = 4 << 20, STAGES = 8 };

/* A product's description and the algorithm that was chosen for it, once. */
typedef struct shape {
    vt_matmul key;      /* of the addresses only whether there is a bias */
    uint32_t alignment; /* that all addresses have */
    bool bias_apart;    /* there is no product that adds it */
    cublasLtMatmulDesc_t desc;
    cublasLtMatrixLayout_t a, b, c;
    cublasLtMatmulAlgo_t algo;
} shape;

struct vt_gpu {
    cudaStream_t stream;
    bool managed; /* memory that the host may touch too: for tests */
    void *lt_library, *workspace, *answer;
    cudaEvent_t events[EVENTS]; /* behind the newest fetches, by number */
    uint64_t n_fetches;
    char *stages; /* what is written goes through these, in turn: the caller's block is free at once
                   */
    cudaEvent_t staged[STAGES]; /* behind the newest copy out of each */
    uint64_t n_staged;
    cublasLtHandle_t lt;
#define X(name) decltype(&name) name##_;
    LT_LIST(X)
#undef X
    shape *shapes;
    int n_shapes, room;
};

void vt_cuda_check(cudaError_t result, const char *call)
{
    if (result == cudaSuccess)
        return;
    fprintf(stderr, "vitrine: the GPU failed in %s: %s\n", call, cudaGetErrorString(result));
    exit(70);
}
#define CHECK(call) vt_cuda_check(call, #call)

static void check_lt(cublasStatus_t result, const char *call)
{
    if (result == CUBLAS_STATUS_SUCCESS)
        return;
    fprintf(stderr, "vitrine: cuBLASLt failed in %s: status %d\n", call, (int)result);
    exit(70);
}
#define CHECK_LT(call) check_lt(call, #call)

cudaStream_t vt_cuda_stream(vt_gpu *gpu)
{
    return gpu->stream;
}

static bool open_lt(vt_gpu *gpu, char *text, size_t text_size)
{
    const char *named = getenv("VITRINE_CUBLASLT");
    const char *const names[] = {named ? named : "libcublasLt.so.13", "libcublasLt.so.13",
                                 "libcublasLt.so.12", "/usr/local/cuda/lib64/libcublasLt.so.13"};
    for (size_t i = 0; i < sizeof names / sizeof *names && !gpu->lt_library; i++)
        gpu->lt_library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    if (!gpu->lt_library) {
        snprintf(text, text_size, "cuBLASLt is missing: %s", dlerror());
        return false;
    }
#define X(name)                                                                                    \
    *(void **)&gpu->name##_ = dlsym(gpu->lt_library, #name);                                       \
    if (!gpu->name##_) {                                                                           \
        snprintf(text, text_size, "cuBLASLt lacks %s", #name);                                     \
        return false;                                                                              \
    }
    LT_LIST(X)
#undef X
    if (gpu->cublasLtCreate_(&gpu->lt) != CUBLAS_STATUS_SUCCESS) {
        snprintf(text, text_size, "cuBLASLt does not start");
        return false;
    }
    return true;
}

extern "C" {

vt_gpu *vt_gpu_open(char *kernels, size_t kernels_size, char *text, size_t text_size)
{
    int n = 0, driver = 0;
    cudaDeviceProp about;
    cudaError_t result = cudaDriverGetVersion(&driver);
    if (result == cudaSuccess && driver == 0) {
        snprintf(text, text_size, "no NVIDIA driver is installed");
        return NULL;
    }
    if (result == cudaSuccess)
        result = cudaGetDeviceCount(&n);
    if (result == cudaSuccess && n > 0)
        result = cudaGetDeviceProperties(&about, 0);
    if (result != cudaSuccess || n == 0) {
        snprintf(text, text_size, "%s",
                 n == 0 && result == cudaSuccess ? "this machine has none"
                                                 : cudaGetErrorString(result));
        return NULL;
    }
    if (about.major < 8) {
        snprintf(text, text_size, "%s is of architecture %d.%d, and 8.0 is the least", about.name,
                 about.major, about.minor);
        return NULL;
    }
    if (about.sharedMemPerBlockOptin < VT_MOST_SHARED) {
        snprintf(text, text_size, "%s has %zu KiB of shared memory a block, and %d is the least",
                 about.name, about.sharedMemPerBlockOptin >> 10, VT_MOST_SHARED >> 10);
        return NULL;
    }
    vt_gpu *gpu = (vt_gpu *)calloc(1, sizeof *gpu);
    if (!gpu || !open_lt(gpu, text, text_size)) {
        free(gpu);
        return NULL;
    }
    gpu->managed = getenv("VITRINE_GPU_MANAGED") != NULL;
    if (gpu->managed)
        vt_gpu_reach_host();
    CHECK(cudaStreamCreateWithFlags(&gpu->stream, cudaStreamNonBlocking));
    CHECK(cudaMalloc(&gpu->workspace, WORKSPACE_BYTES));
    CHECK(gpu->managed ? cudaMallocManaged(&gpu->answer, 256) : cudaMalloc(&gpu->answer, 256));
    for (int i = 0; i < EVENTS + STAGES; i++)
        CHECK(cudaEventCreateWithFlags(i < EVENTS ? &gpu->events[i] : &gpu->staged[i - EVENTS],
                                       cudaEventDisableTiming | cudaEventBlockingSync));
    CHECK(cudaHostAlloc((void **)&gpu->stages, (size_t)STAGES * STAGE_BYTES, cudaHostAllocDefault));
    snprintf(kernels, kernels_size, "cuda sm_%d%d", about.major, about.minor);
    snprintf(text, text_size, "%s", about.name);
    return gpu;
}

void vt_gpu_close(vt_gpu *gpu)
{
    CHECK(cudaStreamSynchronize(gpu->stream));
    for (int i = 0; i < gpu->n_shapes; i++) {
        gpu->cublasLtMatrixLayoutDestroy_(gpu->shapes[i].a);
        gpu->cublasLtMatrixLayoutDestroy_(gpu->shapes[i].b);
        gpu->cublasLtMatrixLayoutDestroy_(gpu->shapes[i].c);
        gpu->cublasLtMatmulDescDestroy_(gpu->shapes[i].desc);
    }
    free(gpu->shapes);
    for (int i = 0; i < EVENTS + STAGES; i++)
        CHECK(cudaEventDestroy(i < EVENTS ? gpu->events[i] : gpu->staged[i - EVENTS]));
    CHECK(cudaFreeHost(gpu->stages));
    gpu->cublasLtDestroy_(gpu->lt);
    CHECK(cudaFree(gpu->workspace));
    CHECK(cudaFree(gpu->answer));
    CHECK(cudaStreamDestroy(gpu->stream));
    free(gpu);
}

void *vt_gpu_answer(vt_gpu *gpu)
{
    return gpu->answer;
}

void *vt_gpu_alloc(vt_gpu *gpu, size_t size_bytes)
{
    void *block = NULL;
    const size_t size = size_bytes ? size_bytes : 1;
    const cudaError_t result =
        gpu->managed ? cudaMallocManaged(&block, size) : cudaMalloc(&block, size);
    if (result == cudaErrorMemoryAllocation) {
        cudaGetLastError();
        return NULL;
    }
    vt_cuda_check(result, "cudaMalloc");
    vt_gpu_clear(gpu, block, size);
    CHECK(cudaStreamSynchronize(gpu->stream));
    return block;
}

void vt_gpu_release(vt_gpu *gpu, void *block)
{
    CHECK(cudaStreamSynchronize(gpu->stream));
    CHECK(cudaFree(block));
}

void vt_gpu_write(vt_gpu *gpu, void *to, const void *from_host, size_t size_bytes)
{
    for (size_t at = 0; at < size_bytes; at += STAGE_BYTES) {
        const size_t left = size_bytes - at, n = left < STAGE_BYTES ? left : (size_t)STAGE_BYTES;
        const int i = (int)(gpu->n_staged++ % STAGES);
        char *stage = gpu->stages + (size_t)i * STAGE_BYTES;
        CHECK(cudaEventSynchronize(gpu->staged[i]));
        memcpy(stage, (const char *)from_host + at, n);
        CHECK(cudaMemcpyAsync((char *)to + at, stage, n, cudaMemcpyHostToDevice, gpu->stream));
        CHECK(cudaEventRecord(gpu->staged[i], gpu->stream));
    }
    if (gpu->managed) /* the host may look at once */
        CHECK(cudaStreamSynchronize(gpu->stream));
}

void vt_gpu_read(vt_gpu *gpu, void *to_host, const void *from, size_t size_bytes)
{
    CHECK(cudaMemcpyAsync(to_host, from, size_bytes, cudaMemcpyDeviceToHost, gpu->stream));
    CHECK(cudaStreamSynchronize(gpu->stream));
}

void *vt_gpu_host_alloc(vt_gpu *, size_t size_bytes)
{
    void *block = NULL;
    const size_t size = size_bytes ? size_bytes : 1;
    const cudaError_t result = cudaHostAlloc(&block, size, cudaHostAllocDefault);
    if (result == cudaErrorMemoryAllocation) {
        cudaGetLastError();
        return NULL;
    }
    vt_cuda_check(result, "cudaHostAlloc");
    memset(block, 0, size);
    return block;
}

void vt_gpu_host_release(vt_gpu *gpu, void *block)
{
    CHECK(cudaStreamSynchronize(gpu->stream));
    CHECK(cudaFreeHost(block));
}

uint64_t vt_gpu_fetch(vt_gpu *gpu, void *to_host, const void *from, size_t size_bytes)
{
    const uint64_t number = gpu->n_fetches++;
    CHECK(cudaMemcpyAsync(to_host, from, size_bytes, cudaMemcpyDeviceToHost, gpu->stream));
    CHECK(cudaEventRecord(gpu->events[number % EVENTS], gpu->stream));
    return number;
}

void vt_gpu_wait(vt_gpu *gpu, uint64_t fetch)
{
    /* An event that stands for a later fetch by now comes later, too. */
    CHECK(cudaEventSynchronize(gpu->events[fetch % EVENTS]));
}

void vt_gpu_clear(vt_gpu *gpu, void *block, size_t size_bytes)
{
    CHECK(cudaMemsetAsync(block, 0, size_bytes, gpu->stream));
    /* CUDA_LAUNCH_BLOCKING, which such tests run with, waits for kernels alone. */
    cudaStreamCaptureStatus capturing = cudaStreamCaptureStatusNone;
    if (gpu->managed)
        CHECK(cudaStreamIsCapturing(gpu->stream, &capturing));
    if (gpu->managed && capturing == cudaStreamCaptureStatusNone)
        CHECK(cudaStreamSynchronize(gpu->stream));
}

void vt_gpu_record(vt_gpu *gpu)
{
    CHECK(cudaStreamBeginCapture(gpu->stream, cudaStreamCaptureModeThreadLocal));
}

void *vt_gpu_recorded(vt_gpu *gpu)
{
    cudaGraph_t graph;
    cudaGraphExec_t executable;
    CHECK(cudaStreamEndCapture(gpu->stream, &graph));
    CHECK(cudaGraphInstantiate(&executable, graph, 0));
    CHECK(cudaGraphDestroy(graph));
    return executable;
}

void vt_gpu_replay(vt_gpu *gpu, void *recording)
{
    CHECK(cudaGraphLaunch((cudaGraphExec_t)recording, gpu->stream));
}

void vt_gpu_forget(vt_gpu *gpu, void *recording)
{
    CHECK(cudaStreamSynchronize(gpu->stream));
    CHECK(cudaGraphExecDestroy((cudaGraphExec_t)recording));
}
}

/* What an algorithm may count on: where blocks lie is the plan's affair and as fixed as shapes. */
static uint32_t find_alignment(const vt_matmul *p)
{
    const uintptr_t all = (uintptr_t)p->a | (uintptr_t)p->b | (uintptr_t)p->c | (uintptr_t)p->bias;
    return all % 16 == 0 ? 16 : all % 8 == 0 ? 8 : all % 4 == 0 ? 4 : 2;
}

static bool is_shape_of(const shape *s, const vt_matmul *y)
{
    const vt_matmul *x = &s->key;
    return x->m == y->m && x->n == y->n && x->k == y->k && x->batch == y->batch &&
           x->a_transposed == y->a_transposed && x->b_transposed == y->b_transposed &&
           x->type == y->type && x->c_type == y->c_type && x->add == y->add &&
           !x->bias == !y->bias && s->alignment == find_alignment(y);
}

static cudaDataType_t lt_type(vt_dtype type)
{
    return type == VT_BF16 ? CUDA_R_16BF : CUDA_R_32F;
}

static cublasLtMatrixLayout_t describe_matrix(vt_gpu *gpu, vt_dtype type, int64_t rows,
                                              int64_t cols, int64_t batch)
{
    cublasLtMatrixLayout_t layout;
    const int32_t count = batch > 1 ? (int32_t)batch : 1;
    const int64_t stride = rows * cols;
    /* Row-major: its transpose, counted by columns. */
    CHECK_LT(gpu->cublasLtMatrixLayoutCreate_(&layout, lt_type(type), (uint64_t)cols,
                                              (uint64_t)rows, cols));
    CHECK_LT(gpu->cublasLtMatrixLayoutSetAttribute_(layout, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT,
                                                    &count, sizeof count));
    CHECK_LT(gpu->cublasLtMatrixLayoutSetAttribute_(
        layout, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &stride, sizeof stride));
    return layout;
}

static cublasStatus_t choose_algorithm(vt_gpu *gpu, shape *s)
{
    /* No reduction that splits k: its parts would be added in another kernel or by atomics. */
    const uint32_t none = CUBLASLT_REDUCTION_SCHEME_NONE;
    const uint64_t workspace = WORKSPACE_BYTES;
    const cublasLtMatmulPreferenceAttributes_t alignments[] = {
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES};
    cublasLtMatmulPreference_t wishes;
    cublasLtMatmulHeuristicResult_t found = {};
    int32_t splits = 1;
    size_t written;
    int n_found = 0;
    CHECK_LT(gpu->cublasLtMatmulPreferenceCreate_(&wishes));
    CHECK_LT(gpu->cublasLtMatmulPreferenceSetAttribute_(
        wishes, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &none, sizeof none));
    CHECK_LT(gpu->cublasLtMatmulPreferenceSetAttribute_(
        wishes, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace, sizeof workspace));
    for (size_t i = 0; i < sizeof alignments / sizeof *alignments; i++)
        CHECK_LT(gpu->cublasLtMatmulPreferenceSetAttribute_(wishes, alignments[i], &s->alignment,
                                                            sizeof s->alignment));
    const cublasStatus_t status = gpu->cublasLtMatmulAlgoGetHeuristic_(
        gpu->lt, s->desc, s->b, s->a, s->c, s->c, wishes, 1, &found, &n_found);
    CHECK_LT(gpu->cublasLtMatmulPreferenceDestroy_(wishes));
    if (status != CUBLAS_STATUS_SUCCESS || n_found == 0 || found.state != CUBLAS_STATUS_SUCCESS)
        return status != CUBLAS_STATUS_SUCCESS ? status : CUBLAS_STATUS_NOT_SUPPORTED;
    CHECK_LT(gpu->cublasLtMatmulAlgoConfigGetAttribute_(
        &found.algo, CUBLASLT_ALGO_CONFIG_SPLITK_NUM, &splits, sizeof splits, &written));
    if (splits > 1) {
        fprintf(stderr, "vitrine: cuBLASLt splits the sums of a product in %d\n", (int)splits);
        exit(70);
    }
    s->algo = found.algo;
    return CUBLAS_STATUS_SUCCESS;
}

template <typename T> VT_KERNEL add_bias(T *c, const T *bias, int64_t elements, int64_t n)
{
    const int64_t i = vt_index();
    if (i < elements)
        vt_put(&c[i], vt_get(&c[i]) + vt_get(&bias[i % n]));
}

/* cuBLASLt counts columns first: our row-major c is its c^T = op(b)^T op(a)^T, so a and b change
 * places and m and n too, and the bias, one for each of its rows, is our bias of columns. */
static const shape *find_shape(vt_gpu *gpu, const vt_matmul *p)
{
    for (int i = 0; i < gpu->n_shapes; i++)
        if (is_shape_of(&gpu->shapes[i], p))
            return &gpu->shapes[i];
    if (gpu->n_shapes == gpu->room) {
        gpu->room = 2 * gpu->room + 64;
        gpu->shapes = (shape *)realloc(gpu->shapes, (size_t)gpu->room * sizeof *gpu->shapes);
        if (!gpu->shapes) {
            fprintf(stderr, "vitrine: no memory for the shapes of products\n");
            exit(70);
        }
    }
    shape *s = &gpu->shapes[gpu->n_shapes++];
    *s = shape();
    s->key = *p;
    s->alignment = find_alignment(p);
    const cublasOperation_t op_a = p->a_transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
    const cublasOperation_t op_b = p->b_transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
    CHECK_LT(gpu->cublasLtMatmulDescCreate_(
        &s->desc, p->type == VT_TF32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F,
        CUDA_R_32F));
    CHECK_LT(gpu->cublasLtMatmulDescSetAttribute_(s->desc, CUBLASLT_MATMUL_DESC_TRANSA, &op_b,
                                                  sizeof op_b));
    CHECK_LT(gpu->cublasLtMatmulDescSetAttribute_(s->desc, CUBLASLT_MATMUL_DESC_TRANSB, &op_a,
                                                  sizeof op_a));
    if (p->bias) {
        const cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_BIAS;
        const int32_t bias_type = lt_type(p->type);
        /* The choice below reads the alignment of the bias from an address: the same for all that
         * share the shape. */
        const uintptr_t aligned = s->alignment;
        CHECK_LT(gpu->cublasLtMatmulDescSetAttribute_(s->desc, CUBLASLT_MATMUL_DESC_EPILOGUE,
                                                      &epilogue, sizeof epilogue));
        CHECK_LT(gpu->cublasLtMatmulDescSetAttribute_(s->desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER,
                                                      &aligned, sizeof aligned));
        CHECK_LT(gpu->cublasLtMatmulDescSetAttribute_(s->desc, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE,
                                                      &bias_type, sizeof bias_type));
    }
    s->a = describe_matrix(gpu, p->type, p->a_transposed ? p->k : p->m,
                           p->a_transposed ? p->m : p->k, p->batch);
    s->b = describe_matrix(gpu, p->type, p->b_transposed ? p->n : p->k,
                           p->b_transposed ? p->k : p->n, p->batch);
    s->c = describe_matrix(gpu, p->c_type, p->m, p->n, p->batch);
    cublasStatus_t status = choose_algorithm(gpu, s);
    if (status != CUBLAS_STATUS_SUCCESS && p->bias) { /* one column is a case that may be refused */
        const cublasLtEpilogue_t none = CUBLASLT_EPILOGUE_DEFAULT;
        CHECK_LT(gpu->cublasLtMatmulDescSetAttribute_(s->desc, CUBLASLT_MATMUL_DESC_EPILOGUE, &none,
                                                      sizeof none));
        s->bias_apart = true;
        status = choose_algorithm(gpu, s);
    }
    if (status != CUBLAS_STATUS_SUCCESS) {
        fprintf(stderr, "vitrine: cuBLASLt has no product of %lld x %lld x %lld: status %d\n",
                (long long)p->m, (long long)p->n, (long long)p->k, (int)status);
        exit(70);
    }
    return s;
}

extern "C" void vt_gpu_matmul(vt_gpu *gpu, const vt_matmul *p)
{
    const float one = 1, zero = 0;
    if (p->m == 0 || p->n == 0 || p->k == 0) {
        fprintf(stderr, "vitrine: a product without rows, columns or terms\n");
        exit(70);
    }
    const shape *s = find_shape(gpu, p);
    if (p->bias && !s->bias_apart)
        CHECK_LT(gpu->cublasLtMatmulDescSetAttribute_(s->desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER,
                                                      &p->bias, sizeof p->bias));
    CHECK_LT(gpu->cublasLtMatmul_(gpu->lt, s->desc, &one, p->b, s->b, p->a, s->a,
                                  p->add ? &one : &zero, p->c, s->c, p->c, s->c, &s->algo,
                                  gpu->workspace, WORKSPACE_BYTES, gpu->stream));
    if (!s->bias_apart)
        return;
    const int64_t elements = (p->batch > 1 ? p->batch : 1) * p->m * p->n;
    const unsigned blocks = (unsigned)((elements + VT_THREADS - 1) / VT_THREADS);
    if (p->c_type == VT_BF16)
        add_bias<<<blocks, VT_THREADS, 0, gpu->stream>>>((vt_bf16 *)p->c, (const vt_bf16 *)p->bias,
                                                         elements, p->n);
    else
        add_bias<<<blocks, VT_THREADS, 0, gpu->stream>>>((float *)p->c, (const float *)p->bias,
                                                         elements, p->n);
    CHECK(cudaGetLastError());
}
