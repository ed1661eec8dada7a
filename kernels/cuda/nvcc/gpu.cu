/* The GPU through CUDA's runtime; cuBLASLt is loaded when one is opened. */
#include "port.h"

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
    X(cublasLtMatmulPreferenceCreate)                                                              \
    X(cublasLtMatmulPreferenceDestroy)                                                             \
    X(cublasLtMatmulPreferenceSetAttribute)                                                        \
    X(cublasLtMatmulAlgoGetHeuristic)

enum { WORKSPACE_BYTES = 32 << 20, MOST_SHAPES = 512 };

/* A product's description and the algorithm that was chosen for it, once. */
typedef struct shape {
    vt_matmul key; /* addresses NULL; bias: not NULL if there is one */
    cublasLtMatmulDesc_t desc;
    cublasLtMatrixLayout_t a, b, c;
    cublasLtMatmulAlgo_t algo;
} shape;

struct vt_gpu {
    cudaStream_t stream;
    bool managed; /* memory that the host may touch too: for tests */
    void *lt_library, *workspace, *answer;
    cublasLtHandle_t lt;
#define X(name) decltype(&name) name##_;
    LT_LIST(X)
#undef X
    shape shapes[MOST_SHAPES];
    int n_shapes;
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
    vt_gpu *gpu = (vt_gpu *)calloc(1, sizeof *gpu);
    if (!gpu || !open_lt(gpu, text, text_size)) {
        free(gpu);
        return NULL;
    }
    gpu->managed = getenv("VITRINE_GPU_MANAGED") != NULL;
    CHECK(cudaStreamCreateWithFlags(&gpu->stream, cudaStreamNonBlocking));
    CHECK(cudaMalloc(&gpu->workspace, WORKSPACE_BYTES));
    CHECK(gpu->managed ? cudaMallocManaged(&gpu->answer, 256) : cudaMalloc(&gpu->answer, 256));
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
    CHECK(cudaMemcpyAsync(to, from_host, size_bytes, cudaMemcpyHostToDevice, gpu->stream));
    /* From pageable memory the copy has left the host's block when the call returns. */
}

void vt_gpu_read(vt_gpu *gpu, void *to_host, const void *from, size_t size_bytes)
{
    CHECK(cudaMemcpyAsync(to_host, from, size_bytes, cudaMemcpyDeviceToHost, gpu->stream));
    CHECK(cudaStreamSynchronize(gpu->stream));
}

void vt_gpu_clear(vt_gpu *gpu, void *block, size_t size_bytes)
{
    CHECK(cudaMemsetAsync(block, 0, size_bytes, gpu->stream));
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

static bool same_shape(const vt_matmul *x, const vt_matmul *y)
{
    return x->m == y->m && x->n == y->n && x->k == y->k && x->a_transposed == y->a_transposed &&
           x->b_transposed == y->b_transposed && x->add == y->add && !x->bias == !y->bias;
}

/* cuBLASLt counts columns first: our row-major c is its c^T = op(b)^T op(a)^T, so a and b change
 * places and m and n too, and the bias, one for each of its rows, is our bias of columns. */
static const shape *find_shape(vt_gpu *gpu, const vt_matmul *p)
{
    for (int i = 0; i < gpu->n_shapes; i++)
        if (same_shape(&gpu->shapes[i].key, p))
            return &gpu->shapes[i];
    if (gpu->n_shapes == MOST_SHAPES) {
        fprintf(stderr, "vitrine: more than %d shapes of products\n", MOST_SHAPES);
        exit(70);
    }
    shape *s = &gpu->shapes[gpu->n_shapes++];
    *s = shape();
    s->key = *p;
    const cublasOperation_t op_a = p->a_transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
    const cublasOperation_t op_b = p->b_transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
    CHECK_LT(gpu->cublasLtMatmulDescCreate_(&s->desc, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    CHECK_LT(gpu->cublasLtMatmulDescSetAttribute_(s->desc, CUBLASLT_MATMUL_DESC_TRANSA, &op_b,
                                                  sizeof op_b));
    CHECK_LT(gpu->cublasLtMatmulDescSetAttribute_(s->desc, CUBLASLT_MATMUL_DESC_TRANSB, &op_a,
                                                  sizeof op_a));
    if (p->bias) {
        const cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_BIAS;
        CHECK_LT(gpu->cublasLtMatmulDescSetAttribute_(s->desc, CUBLASLT_MATMUL_DESC_EPILOGUE,
                                                      &epilogue, sizeof epilogue));
    }
    const uint64_t m = (uint64_t)p->m, n = (uint64_t)p->n, k = (uint64_t)p->k;
    CHECK_LT(gpu->cublasLtMatrixLayoutCreate_(&s->b, CUDA_R_32F, p->b_transposed ? k : n,
                                              p->b_transposed ? n : k,
                                              p->b_transposed ? p->k : p->n));
    CHECK_LT(gpu->cublasLtMatrixLayoutCreate_(&s->a, CUDA_R_32F, p->a_transposed ? m : k,
                                              p->a_transposed ? k : m,
                                              p->a_transposed ? p->m : p->k));
    CHECK_LT(gpu->cublasLtMatrixLayoutCreate_(&s->c, CUDA_R_32F, n, m, p->n));

    /* No reduction that splits k: its parts would be added in another kernel or by atomics. */
    const uint32_t none = CUBLASLT_REDUCTION_SCHEME_NONE;
    const size_t workspace = WORKSPACE_BYTES;
    cublasLtMatmulPreference_t wishes;
    cublasLtMatmulHeuristicResult_t found;
    int n_found = 0;
    CHECK_LT(gpu->cublasLtMatmulPreferenceCreate_(&wishes));
    CHECK_LT(gpu->cublasLtMatmulPreferenceSetAttribute_(
        wishes, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &none, sizeof none));
    CHECK_LT(gpu->cublasLtMatmulPreferenceSetAttribute_(
        wishes, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace, sizeof workspace));
    CHECK_LT(gpu->cublasLtMatmulAlgoGetHeuristic_(gpu->lt, s->desc, s->b, s->a, s->c, s->c, wishes,
                                                  1, &found, &n_found));
    CHECK_LT(gpu->cublasLtMatmulPreferenceDestroy_(wishes));
    if (n_found == 0) {
        fprintf(stderr, "vitrine: cuBLASLt has no product of %lld x %lld x %lld\n", (long long)p->m,
                (long long)p->n, (long long)p->k);
        exit(70);
    }
    s->algo = found.algo;
    return s;
}

extern "C" void vt_gpu_matmul(vt_gpu *gpu, const vt_matmul *p)
{
    const float one = 1, zero = 0;
    const shape *s = find_shape(gpu, p);
    if (p->bias)
        CHECK_LT(gpu->cublasLtMatmulDescSetAttribute_(s->desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER,
                                                      &p->bias, sizeof p->bias));
    CHECK_LT(gpu->cublasLtMatmul_(gpu->lt, s->desc, &one, p->b, s->b, p->a, s->a,
                                  p->add ? &one : &zero, p->c, s->c, p->c, s->c, &s->algo,
                                  gpu->workspace, WORKSPACE_BYTES, gpu->stream));
}
