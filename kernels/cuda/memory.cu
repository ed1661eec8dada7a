#include "kernels/cuda/common.cuh"

/* As many answers of 8 bytes as vt_gpu_answer has room for. */
enum { PARTS = 32, SEARCH_THREADS = 1024 };

void VT_CUDA(fill_zero)(vt_dev *d, void *data, size_t size_bytes)
{
    if (size_bytes > 0)
        vt_gpu_clear(vt_dev_gpu(d), data, size_bytes);
}

/* Each block searches one part of x for the first value that is not finite; n if there is none. */
template <typename T> VT_KERNEL search_part(int64_t *found, const T *x, int64_t n, int64_t part)
{
    const int64_t start = blockIdx.x * part, end = start + part < n ? start + part : n;
    int64_t *room = vt_shared<int64_t>(), mine = n;
    for (int64_t i = start + threadIdx.x; mine == n && i < end; i += SEARCH_THREADS)
        if (!(fabs((double)x[i]) < (double)INFINITY))
            mine = i;
    room[threadIdx.x] = mine;
    for (int gap = SEARCH_THREADS / 2; gap > 0; gap /= 2) {
        vt_sync();
        if ((int)threadIdx.x < gap && room[threadIdx.x + gap] < room[threadIdx.x])
            room[threadIdx.x] = room[threadIdx.x + gap];
    }
    if (threadIdx.x == 0)
        found[blockIdx.x] = room[0];
}

int64_t VT_CUDA(find_nonfinite)(vt_dev *d, vt_buf x, int64_t n)
{
    const int64_t part = vt_ceil_div(n, PARTS);
    int64_t *answer = static_cast<int64_t *>(vt_gpu_answer(vt_dev_gpu(d))), found[PARTS];
    const size_t room = SEARCH_THREADS * sizeof(int64_t);
    if (x.type == VT_I32 || n == 0)
        return -1;
    if (x.type == VT_F64)
        VT_LAUNCH(d, search_part<double>, dim3(PARTS), SEARCH_THREADS, room, answer,
                  static_cast<const double *>(x.data), n, part);
    else
        VT_LAUNCH(d, search_part<float>, dim3(PARTS), SEARCH_THREADS, room, answer,
                  static_cast<const float *>(x.data), n, part);
    vt_gpu_read(vt_dev_gpu(d), found, answer, sizeof found);
    for (int i = 0; i < PARTS; i++)
        if (found[i] < n)
            return found[i];
    return -1;
}
