/* vitrine-h5 on made-up runs: what is in run.h5, read back through HDF5, and what it refuses. */
#include "base/fs.h"
#include "base/mem.h"
#include "support/fault.h"
#include "support/make_run.h"

#include <errno.h>
#include <fcntl.h>
#include <hdf5.h>
#include <hdf5_hl.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static const vt_made_run whole = {.epochs = 3,
                                  .steps = 5,
                                  .classes = 4,
                                  .snapshots = 2,
                                  .images = 3,
                                  .val = true,
                                  .logits = true,
                                  .done = true};

/* The program in the build folder above this test's; false if it is not there. */
static void find_program(char path[PATH_MAX])
{
    ssize_t size = readlink("/proc/self/exe", path, PATH_MAX - 32);
    assert_true(size > 0);
    path[size] = '\0';
    snprintf(strrchr(path, '/'), 32, "/../vitrine-h5");
    if (access(path, X_OK) != 0)
        fail_msg("%s is not built", path);
}

/* Runs vitrine-h5 on the folder; `text` receives what it says on stderr. `limit` (0: none) is the
 * largest file it may write. Returns its exit status, or -1 if a signal ended it. */
static int publish(const vt_scratch *s, char text[4000], rlim_t limit)
{
    char program[PATH_MAX];
    int ends[2], how;
    size_t size = 0;
    find_program(program);
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        int null = open("/dev/null", O_WRONLY);
        dup2(null, STDOUT_FILENO);
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        if (limit)
            setrlimit(RLIMIT_FSIZE, &(struct rlimit){limit, limit});
        execl(program, "vitrine-h5", s->path, (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    for (ssize_t n = 1; n > 0 && size<3999; size += n> 0 ? (size_t)n : 0)
        n = read(ends[0], text + size, 3999 - size);
    text[size] = '\0';
    close(ends[0]);
    assert_int_equal(waitpid(pid, &how, 0), pid);
    return WIFEXITED(how) ? WEXITSTATUS(how) : -1;
}

static void publish_well(const vt_scratch *s)
{
    char text[4000];
    if (publish(s, text, 0) != 0)
        fail_msg("vitrine-h5 failed: %s", text);
    assert_string_equal(text, "");
}

static hid_t open_file(const vt_scratch *s)
{
    char path[300];
    snprintf(path, sizeof path, "%s/run.h5", s->path);
    setenv("HDF5_USE_FILE_LOCKING", "FALSE", 1);
    hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    assert_true(file >= 0);
    return file;
}

static void read_doubles(hid_t file, const char *path, int n, double *values)
{
    hsize_t dims[8] = {1};
    int rank = -1;
    assert_true(H5LTget_dataset_ndims(file, path, &rank) >= 0);
    assert_true(H5LTget_dataset_info(file, path, dims, NULL, NULL) >= 0);
    int64_t total = 1;
    for (int i = 0; i < rank; i++)
        total *= (int64_t)dims[i];
    assert_int_equal(total, n);
    assert_true(H5LTread_dataset_double(file, path, values) >= 0);
}

static void read_text(hid_t file, const char *object, const char *name, char text[200])
{
    char *value = NULL;
    assert_true(H5LTget_attribute_string(file, object, name, (char *)&value) >= 0);
    snprintf(text, 200, "%s", value);
    H5free_memory(value);
}

static void values_are_those_of_the_journal(void **state)
{
    vt_scratch s = vt_scratch_new();
    double v[1000];
    char text[200];
    (void)state;
    vt_make_run(s.fd, &whole);
    publish_well(&s);
    hid_t file = open_file(&s);
    read_doubles(file, "/train/loss", 15, v);
    for (int i = 0; i < 15; i++)
        assert_true(v[i] == 2 - (i + 1) / 15.0);
    read_doubles(file, "/train/samples_seen", 15, v);
    assert_true(v[14] == 120);
    read_doubles(file, "/train/by_epoch/lr", 3, v);
    assert_true(v[2] == 0.001 / 15);
    read_doubles(file, "/eval/test/epoch", 3, v);
    assert_true(v[0] == 1 && v[2] == 3);
    read_doubles(file, "/eval/val/loss", 3, v);
    assert_true(v[1] == 1.5);
    read_doubles(file, "/eval/test/confusion", 48, v);
    for (int i = 0; i < 48; i++)
        assert_true(v[i] == 100 * (i / 16 + 1) + 10 * (i / 4 % 4) + i % 4);
    read_doubles(file, "/eval/test/final/label", 5, v);
    assert_true(v[4] == 0);
    read_doubles(file, "/eval/test/final/logits", 20, v);
    assert_true(v[19] == 19 / 8.0);
    read_doubles(file, "/attention/snapshot_epoch", 2, v);
    assert_true(v[0] == 1 && v[1] == 2);
    read_doubles(file, "/attention/dataset_index", 3, v);
    assert_true(v[2] == 14);
    read_doubles(file, "/attention/pred", 6, v);
    assert_true(v[0] == 1 && v[3] == 2);
    read_doubles(file, "/attention/layer_00/weights", 2 * 3 * 2 * 25, v);
    assert_true(v[0] == 1 && v[149] == 1 + 149 / 1024.0 && v[150] == 2);
    assert_true(H5Lexists(file, "/attention/rollout", H5P_DEFAULT) == 0); /* a class token in one */
    read_doubles(file, "/perf/train_images_per_s", 2, v);
    assert_true(v[0] == 9 && v[1] == 5); /* epoch 1 was computed twice */
    read_doubles(file, "/checkpoints/step", 3, v);
    assert_true(v[2] == 15);
    read_text(file, "/train/loss", "units", text);
    assert_string_equal(text, "nat");
    read_text(file, "/config/params", "optim.name", text);
    assert_string_equal(text, "adamw");
    read_text(file, "/", "exp_name", text);
    assert_string_equal(text, "made");
    H5Fclose(file);
    vt_scratch_free(&s);
}

/* Checks on every object; the visitor returns non-zero at the first bad one. */
static herr_t check_object(hid_t file, const char *name, const H5O_info_t *info, void *arg)
{
    char *bad = arg;
    snprintf(bad, 200, "%s", name);
    if (info->mtime || info->ctime || info->atime || info->btime)
        return 1;
    if (info->type != H5O_TYPE_DATASET)
        return 0;
    hid_t set = H5Dopen2(file, name, H5P_DEFAULT);
    hid_t space = H5Dget_space(set);
    int rank = H5Sget_simple_extent_ndims(space);
    herr_t result = H5Aexists(set, "units") > 0 && H5Aexists(set, "long_name") > 0 ? 0 : 1;
    for (unsigned i = 0; i < (unsigned)rank && result == 0 && H5DSis_scale(set) <= 0; i++) {
        char label[40] = "";
        if (H5DSget_num_scales(set, i) != 1 || H5DSget_label(set, i, label, sizeof label) <= 0)
            result = 1;
    }
    H5Sclose(space);
    H5Dclose(set);
    return result;
}

static void every_dataset_has_units_a_name_and_labelled_axes(void **state)
{
    vt_scratch s = vt_scratch_new();
    char name[200] = "";
    (void)state;
    vt_make_run(s.fd, &whole);
    publish_well(&s);
    hid_t file = open_file(&s);
    if (H5Ovisit2(file, H5_INDEX_NAME, H5_ITER_INC, check_object, name, H5O_INFO_ALL) != 0)
        fail_msg("/%s has a time stamp, or lacks units, long_name or a labelled axis", name);
    H5Fclose(file);
    vt_scratch_free(&s);
}

static void read_digest(const vt_scratch *s, char text[200])
{
    hid_t file = open_file(s);
    read_text(file, "/", "results_digest", text);
    H5Fclose(file);
}

static void same_run_gives_the_same_bytes(void **state)
{
    vt_scratch s = vt_scratch_new();
    size_t first_size, second_size;
    (void)state;
    vt_make_run(s.fd, &whole);
    publish_well(&s);
    char *first = vt_scratch_read(s.fd, "run.h5", &first_size);
    publish_well(&s);
    char *second = vt_scratch_read(s.fd, "run.h5", &second_size);
    assert_int_equal(first_size, second_size);
    assert_memory_equal(first, second, first_size);
    assert_int_equal(vt_scratch_count(s.fd, ".tmp-"), 0);
    vt_free(first);
    vt_free(second);
    vt_scratch_free(&s);
}

static void digest_is_that_of_the_results_alone(void **state)
{
    vt_scratch s = vt_scratch_new(), other = vt_scratch_new();
    vt_made_run shorter = whole;
    char a[200], b[200], c[200];
    (void)state;
    shorter.epochs = 2;
    vt_make_run(s.fd, &whole);
    publish_well(&s);
    read_digest(&s, a);
    static const char *const context[] = {"perf.jsonl", "provenance.json", "code.patch",
                                          "config.yaml", "config.origin.txt"};
    for (size_t i = 0; i < sizeof context / sizeof *context; i++)
        assert_int_equal(unlinkat(s.fd, context[i], 0), 0);
    publish_well(&s);
    read_digest(&s, b);
    assert_string_equal(a, b);
    vt_make_run(other.fd, &shorter);
    publish_well(&other);
    read_digest(&other, c);
    assert_string_not_equal(a, c);
    vt_scratch_free(&s);
    vt_scratch_free(&other);
}

static void journal_cut_anywhere_still_publishes_or_says_why(void **state)
{
    vt_scratch s = vt_scratch_new();
    const vt_made_run small = {.epochs = 2, .steps = 1, .classes = 2, .logits = true, .done = true};
    char text[4000];
    size_t size;
    int published = 0, refused = 0;
    (void)state;
    vt_make_run(s.fd, &small);
    char *bytes = vt_scratch_read(s.fd, "journal", &size);
    for (size_t cut = size; cut > 0; cut -= cut < 97 ? cut : 97) {
        vt_scratch_write(s.fd, "journal", bytes, cut);
        int code = publish(&s, text, 0);
        if (code != 0 && code != VT_ERR_DATA)
            fail_msg("cut at %zu: exit %d: %s", cut, code, text);
        published += code == 0;
        refused += code != 0;
    }
    assert_true(published > 10);
    assert_true(refused > 0); /* not even the first record is whole */
    vt_free(bytes);
    vt_scratch_free(&s);
}

/* The product of the layers' matrices, computed as it is written. */
static void rollout_is_the_product_of_the_layers(void **state)
{
    enum { HEADS = 2, T = 5, IMAGES = 2, SNAPSHOTS = 2 };
    const vt_made_run what = {.epochs = 2,
                              .steps = 1,
                              .classes = 2,
                              .snapshots = SNAPSHOTS,
                              .images = IMAGES,
                              .global = true};
    vt_scratch s = vt_scratch_new();
    double v[SNAPSHOTS * IMAGES * (T - 1)];
    (void)state;
    vt_make_run(s.fd, &what);
    publish_well(&s);
    hid_t file = open_file(&s);
    read_doubles(file, "/attention/rollout", SNAPSHOTS * IMAGES * (T - 1), v);
    for (int epoch = 1; epoch <= SNAPSHOTS; epoch++)
        for (int image = 0; image < IMAGES; image++) {
            double a[T][T], product[T][T] = {{0}};
            for (int q = 0; q < T; q++)
                for (int k = 0; k < T; k++) {
                    a[q][k] = q == k ? 0.5 : 0;
                    for (int h = 0; h < HEADS; h++) {
                        int row = ((image * HEADS + h) * T + q) * T;
                        double sum = T * epoch + (T * row + T * (T - 1) / 2) / 1024.0;
                        a[q][k] += 0.5 / HEADS * (epoch + (row + k) / 1024.0) / sum;
                    }
                }
            for (int q = 0; q < T; q++)
                for (int k = 0; k < T; k++)
                    for (int i = 0; i < T; i++)
                        product[q][k] += a[q][i] * a[i][k];
            const double *map = v + ((epoch - 1) * IMAGES + image) * (T - 1);
            for (int k = 1; k < T; k++)
                assert_true(fabs(map[k - 1] - product[0][k]) < 1e-7);
        }
    assert_true(v[0] != v[2 * (T - 1)]);
    H5Fclose(file);
    vt_scratch_free(&s);
}

static void matrices_of_many_classes_are_left_out(void **state)
{
    (void)state;
    for (int more = 0; more < 2; more++) {
        vt_scratch s = vt_scratch_new();
        const vt_made_run what = {
            .epochs = 2, .steps = 1, .classes = VT_CONFUSION_CLASSES_MAX + more, .done = true};
        double v[2];
        vt_make_run(s.fd, &what);
        publish_well(&s);
        hid_t file = open_file(&s);
        assert_true(H5Lexists(file, "/eval/test/confusion", H5P_DEFAULT) == !more);
        read_doubles(file, "/eval/test/top1", 2, v);
        assert_true(v[1] == 0.375);
        H5Fclose(file);
        vt_scratch_free(&s);
    }
}

static void run_without_anything_yet_publishes(void **state)
{
    vt_scratch s = vt_scratch_new();
    const vt_made_run nothing = {.classes = 2};
    double v[1];
    (void)state;
    vt_make_run(s.fd, &nothing);
    publish_well(&s);
    hid_t file = open_file(&s);
    read_doubles(file, "/train/loss", 0, v);
    assert_true(H5Lexists(file, "/attention", H5P_DEFAULT) == 0);
    H5Fclose(file);
    vt_scratch_free(&s);
}

static void captures_that_are_wrong_are_refused(void **state)
{
    static const char *const help[] = {
#define X(name, text) text,
        VT_FLAW_LIST(X)
#undef X
    };
    (void)state;
    for (int flaw = VT_FLAW_NONE + 1; flaw < VT_FLAW_COUNT; flaw++) {
        vt_scratch s = vt_scratch_new();
        vt_made_run what = whole;
        char text[4000];
        what.flaw = (vt_flaw)flaw;
        vt_make_run(s.fd, &what);
        vt_scratch_write(s.fd, "run.h5", "old", 3);
        int code = publish(&s, text, 0);
        if (code != VT_ERR_DATA || !strstr(text, "captures/"))
            fail_msg("%s: exit %d, said '%s'", help[flaw], code, text);
        assert_int_equal(vt_scratch_count(s.fd, ".tmp-"), 0);
        size_t size;
        char *old = vt_scratch_read(s.fd, "run.h5", &size);
        assert_string_equal(old, "old");
        vt_free(old);
        vt_scratch_free(&s);
    }
}

static void damaged_context_is_left_out_with_a_warning(void **state)
{
    vt_scratch s = vt_scratch_new();
    char text[4000];
    (void)state;
    vt_make_run(s.fd, &whole);
    vt_scratch_write(s.fd, "provenance.json", "{", 1);
    vt_scratch_write(s.fd, "config.yaml", "nonsense: [", 11);
    assert_int_equal(publish(&s, text, 0), 0);
    assert_non_null(strstr(text, "provenance.json"));
    assert_non_null(strstr(text, "config.yaml"));
    vt_scratch_free(&s);
}

/* A file-size limit is met wherever a full disk would be. */
static void full_disk_leaves_the_old_file_and_no_other(void **state)
{
    vt_scratch s = vt_scratch_new();
    size_t size;
    int failed = 0;
    (void)state;
    vt_make_run(s.fd, &whole);
    publish_well(&s);
    char *good = vt_scratch_read(s.fd, "run.h5", &size);
    for (size_t limit = 1; limit < size; limit += 1 + size / 12) {
        char text[4000];
        size_t after_size;
        int code = publish(&s, text, limit);
        if (code != VT_ERR_IO || !strstr(text, "run.h5") || !strstr(text, "File too large"))
            fail_msg("limit %zu of %zu: exit %d: %s", limit, size, code, text);
        failed++;
        char *after = vt_scratch_read(s.fd, "run.h5", &after_size);
        assert_int_equal(after_size, size);
        assert_memory_equal(after, good, size);
        assert_int_equal(vt_scratch_count(s.fd, ".tmp-"), 0);
        vt_free(after);
    }
    assert_true(failed >= 10);
    vt_free(good);
    vt_scratch_free(&s);
}

static void leftover_of_a_killed_process_is_removed(void **state)
{
    vt_scratch s = vt_scratch_new();
    (void)state;
    vt_make_run(s.fd, &whole);
    vt_scratch_write(s.fd, ".tmp-99999-0-run.h5", "x", 1);
    vt_scratch_write(s.fd, ".tmp-99999-0-journal", "x", 1);
    publish_well(&s);
    assert_int_equal(vt_scratch_count(s.fd, ".tmp-99999-0-run.h5"), 0);
    assert_int_equal(vt_scratch_count(s.fd, ".tmp-99999-0-journal"), 1);
    vt_scratch_free(&s);
}

/* The program waits for its turn; when this process dies it must not stay behind. */
static void program_dies_with_its_parent(void **state)
{
    vt_scratch s = vt_scratch_new();
    char program[PATH_MAX], parent[32];
    int ends[2];
    char byte;
    (void)state;
    find_program(program);
    vt_make_run(s.fd, &whole);
    int journal = openat(s.fd, "journal", O_RDONLY | O_CLOEXEC);
    assert_int_equal(flock(journal, LOCK_EX), 0);
    assert_int_equal(pipe(ends), 0); /* its writing end is open as long as the program lives */
    pid_t middle = fork();
    if (middle == 0) {
        snprintf(parent, sizeof parent, "%d", (int)getpid());
        if (fork() == 0) {
            execl(program, "vitrine-h5", "--parent", parent, s.path, (char *)NULL);
            _exit(127);
        }
        pause();
    }
    close(ends[1]);
    nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    kill(middle, SIGKILL);
    waitpid(middle, NULL, 0);
    assert_int_equal(read(ends[0], &byte, 1), 0);
    close(ends[0]);
    close(journal);
    vt_scratch_free(&s);
}

static void missing_folder_and_journal_are_named(void **state)
{
    vt_scratch s = vt_scratch_new();
    char text[4000];
    (void)state;
    assert_int_equal(publish(&s, text, 0), VT_ERR_NOINPUT);
    assert_non_null(strstr(text, "journal"));
    vt_scratch gone = s;
    snprintf(gone.path, sizeof gone.path, "%.200s/gone", s.path);
    assert_int_equal(publish(&gone, text, 0), VT_ERR_NOINPUT);
    assert_non_null(strstr(text, "gone"));
    vt_scratch_free(&s);
}

int main(void)
{
#define CASE(text, function)                                                                       \
    {                                                                                              \
        text, function, NULL, NULL, NULL                                                           \
    }
    const struct CMUnitTest tests[] = {
        CASE("values in run.h5 are those of the journal", values_are_those_of_the_journal),
        CASE("every dataset has units, a long name and labelled axes, and no time stamp",
             every_dataset_has_units_a_name_and_labelled_axes),
        CASE("the same run gives the same bytes", same_run_gives_the_same_bytes),
        CASE("the digest is that of the results alone", digest_is_that_of_the_results_alone),
        CASE("a journal cut anywhere still publishes, or says why not",
             journal_cut_anywhere_still_publishes_or_says_why),
        CASE("the rollout is the product of the layers", rollout_is_the_product_of_the_layers),
        CASE("matrices of many classes are left out", matrices_of_many_classes_are_left_out),
        CASE("a run without anything yet publishes", run_without_anything_yet_publishes),
        CASE("captures that are wrong are refused, and the old run.h5 stays",
             captures_that_are_wrong_are_refused),
        CASE("damaged context is left out with a warning",
             damaged_context_is_left_out_with_a_warning),
        CASE("a full disk leaves the old file and no other",
             full_disk_leaves_the_old_file_and_no_other),
        CASE("the leftover of a killed process is removed",
             leftover_of_a_killed_process_is_removed),
        CASE("the program dies with its parent", program_dies_with_its_parent),
        CASE("a missing folder or journal is named", missing_folder_and_journal_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
