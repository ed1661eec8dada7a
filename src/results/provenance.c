#include "results/provenance.h"

#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/phase.h"
#include "base/text.h"
#include "base/version.h"
#include "results/json.h"

#include <errno.h>
#include <fcntl.h>
#include <gnu/libc-version.h>
#include <jpeglib.h>
#include <openssl/crypto.h>
#include <png.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>
#include <yaml.h>
#include <zlib.h>

#define FILE_NAME "provenance.json"
#define PATCH_NAME "code.patch"
#define UNKNOWN "unknown"

enum {
    FILE_CAP = 64 << 20,
    PATCH_CAP = 1 << 20,
    LIST_CAP = 1 << 16,
    GIT_ARGS_MAX = 16,
    FIXED_ARGS = 7
};

#define WORD(text) #text
#define VERSION_WORD(macro) WORD(macro)

extern char **environ;

/* Runs git in a folder and keeps at most `cap` bytes of what it prints. False if it cannot be run
 * or says no. What goes over the cap is dropped and the child told so by a closed pipe. */
static bool run_git(const char *dir, const char *const *args, size_t cap, vt_text *out)
{
    const char *argv[GIT_ARGS_MAX + FIXED_ARGS + 1] = {
        "git", "--no-pager", "--no-optional-locks", "-c", "core.fsmonitor=false", "-C", dir};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t pipe_signal;
    int ends[2] = {-1, -1}, result = -1, how = -1;
    char piece[4096];
    ssize_t n;
    pid_t pid;
    for (int i = 0; args[i]; i++)
        argv[FIXED_ARGS + i] = args[i];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return false;
    sigemptyset(&pipe_signal);
    sigaddset(&pipe_signal, SIGPIPE);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigdefault(&attributes, &pipe_signal);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    result = posix_spawnp(&pid, "git", &actions, &attributes, (char *const *)argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    close(ends[1]);
    if (result == 0) {
        while (out->size < cap && (n = read(ends[0], piece, sizeof piece)) != 0) {
            if (n > 0)
                vt_text_append(out, piece,
                               (size_t)n < cap - out->size ? (size_t)n : cap - out->size);
            else if (errno != EINTR)
                break;
        }
    }
    close(ends[0]);
    if (result != 0)
        return false;
    while (waitpid(pid, &how, 0) < 0 && errno == EINTR)
        ;
    return out->size >= cap || (WIFEXITED(how) && WEXITSTATUS(how) == 0);
}

/* One line of git's answer, as JSON. */
static json_t *ask_git(const char *dir, const char *const *args, bool *ok)
{
    vt_text out = {0};
    *ok = run_git(dir, args, LIST_CAP, &out) && out.data;
    if (*ok)
        out.data[strcspn(out.data, "\n")] = '\0';
    json_t *value = vt_json_text(*ok ? out.data : NULL, UNKNOWN);
    vt_text_release(&out);
    return value;
}

static json_t *list_untracked(const char *dir)
{
    static const char *const args[] = {"ls-files", "-z", "--others", "--exclude-standard", NULL};
    vt_text out = {0};
    json_t *list = json_array();
    if (run_git(dir, args, LIST_CAP, &out)) {
        for (size_t at = 0; at < out.size; at += strlen(out.data + at) + 1)
            json_array_append_new(list, vt_json_text(out.data + at, "(not UTF-8)"));
    }
    vt_text_release(&out);
    return list;
}

/* The state of the code; *patch receives the changes to tracked files. */
static json_t *pack_git(const char *dir, vt_text *patch)
{
    static const char *const commit_args[] = {"rev-parse", "--verify", "HEAD", NULL};
    static const char *const branch_args[] = {"rev-parse", "--abbrev-ref", "HEAD", NULL};
    static const char *const diff_args[] = {"diff",          "--no-color", "--no-ext-diff",
                                            "--no-textconv", "HEAD",       NULL};
    bool ok, branch_ok;
    json_t *commit = ask_git(dir, commit_args, &ok);
    if (!ok) {
        vt_log_write(VT_LOG_WARNING, "no git commit to record here: git or its repository is "
                                     "missing; the code version is kept as \"unknown\"");
        return json_pack("{s:o, s:s, s:s, s:[]}", "commit", commit, "branch", UNKNOWN, "dirty",
                         UNKNOWN, "untracked");
    }
    json_t *branch = ask_git(dir, branch_args, &branch_ok);
    bool diff_ok = run_git(dir, diff_args, PATCH_CAP, patch);
    return json_pack("{s:o, s:o, s:o, s:o, s:o}", "commit", commit, "branch", branch, "dirty",
                     diff_ok ? json_boolean(patch->size > 0) : json_string(UNKNOWN), "untracked",
                     list_untracked(dir), "patch_cut", json_boolean(patch->size >= PATCH_CAP));
}

static json_t *pack_environment(void)
{
    static const char *const listed[] = {"OMP_*", "OPENBLAS_*", "MALLOC_*", "SLURM_JOB_ID"};
    json_t *object = json_object();
    for (char **entry = environ; *entry; entry++) {
        char name[256];
        size_t size = strcspn(*entry, "=");
        if ((*entry)[size] != '=' || size >= sizeof name)
            continue;
        memcpy(name, *entry, size);
        name[size] = '\0';
        for (size_t i = 0; i < sizeof listed / sizeof *listed; i++) {
            if (vt_glob(listed[i], name))
                json_object_set_new(object, name, vt_json_text(*entry + size + 1, "(not UTF-8)"));
        }
    }
    return object;
}

/* The value of the first line "KEY : value" of /proc/cpuinfo. */
static json_t *cpu_model(void)
{
    char text[4096];
    vt_fs_read_text("/proc/cpuinfo", text, sizeof text);
    char *at = strstr(text, "model name");
    at = at ? strchr(at, ':') : NULL;
    if (!at)
        return json_string(UNKNOWN);
    at += strspn(at, ": \t");
    at[strcspn(at, "\n")] = '\0';
    return vt_json_text(at, UNKNOWN);
}

static json_t *pack_host(const vt_provenance *p)
{
    struct utsname name;
    char host[256] = UNKNOWN;
    cpu_set_t allowed;
    bool named = uname(&name) == 0;
    int affinity = sched_getaffinity(0, sizeof allowed, &allowed) == 0 ? CPU_COUNT(&allowed) : -1;
    long long memory = (long long)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);
    if (gethostname(host, sizeof host - 1) != 0)
        snprintf(host, sizeof host, UNKNOWN);
    return json_pack(
        "{s:o, s:o, s:I, s:i, s:i, s:i, s:I, s:o, s:o}", "name", vt_json_text(host, UNKNOWN), "cpu",
        cpu_model(), "cores", (json_int_t)sysconf(_SC_NPROCESSORS_ONLN), "affinity", affinity,
        "threads", p->threads, "decode_threads", p->decode_threads, "memory_bytes",
        (json_int_t)memory, "kernel", vt_json_text(named ? name.release : NULL, UNKNOWN), "machine",
        vt_json_text(named ? name.machine : NULL, UNKNOWN));
}

static json_t *pack_hex(const uint8_t sha256[VT_SHA256_SIZE])
{
    char hex[VT_SHA256_HEX_SIZE];
    vt_sha256_hex(sha256, hex);
    return json_string(hex);
}

void vt_provenance_program(char hex[VT_SHA256_HEX_SIZE])
{
    uint8_t sha256[VT_SHA256_SIZE];
    char path[PATH_MAX];
    ssize_t size = readlink("/proc/self/exe", path, sizeof path - 1);
    path[size < 0 ? 0 : size] = '\0';
    if (size > 0 && vt_fs_hash_file(AT_FDCWD, path, sha256, NULL) == VT_OK)
        vt_sha256_hex(sha256, hex);
    else
        snprintf(hex, VT_SHA256_HEX_SIZE, UNKNOWN);
}

static json_t *binary_sha256(void)
{
    char hex[VT_SHA256_HEX_SIZE];
    vt_provenance_program(hex);
    return json_string(hex);
}

/* Those of the processor that the kernels can make use of; which of them they do is kernel_path. */
static json_t *cpu_features(void)
{
    vt_text text = {0};
    __builtin_cpu_init();
#define FEATURE(name)                                                                              \
    if (__builtin_cpu_supports(name))                                                              \
    vt_text_printf(&text, "%s%s", text.size ? " " : "", name)
    FEATURE("avx2");
    FEATURE("fma");
    FEATURE("avx512f");
    FEATURE("avx512bw");
    FEATURE("avx512dq");
    FEATURE("avx512vl");
#undef FEATURE
    json_t *features = vt_json_text(text.data, UNKNOWN);
    vt_text_release(&text);
    return features;
}

static void add_library(json_t *libraries, const char *name, const char *compiled,
                        const char *loaded)
{
    json_object_set_new(libraries, name,
                        json_pack("{s:o, s:o}", "compiled", vt_json_text(compiled, UNKNOWN),
                                  "loaded", vt_json_text(loaded, UNKNOWN)));
}

static json_t *pack_build(const vt_provenance *p)
{
    char libc[32];
    json_t *libraries = json_object();
    snprintf(libc, sizeof libc, "%d.%d", __GLIBC__, __GLIBC_MINOR__);
    add_library(libraries, "libc", libc, gnu_get_libc_version());
    add_library(libraries, "jansson", JANSSON_VERSION, jansson_version_str());
    add_library(libraries, "openssl", OPENSSL_VERSION_TEXT, OpenSSL_version(OPENSSL_VERSION));
    add_library(libraries, "zlib", ZLIB_VERSION, zlibVersion());
    add_library(libraries, "libpng", PNG_LIBPNG_VER_STRING, png_get_libpng_ver(NULL));
    /* These two tell only one of their versions. */
    add_library(libraries, "libjpeg-turbo", VERSION_WORD(LIBJPEG_TURBO_VERSION), NULL);
    add_library(libraries, "libyaml", NULL, yaml_get_version_string());
    for (int i = 0; i < p->n_libraries; i++)
        add_library(libraries, p->libraries[i].name, p->libraries[i].compiled,
                    p->libraries[i].loaded);
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "version",
                     vt_json_text(vt_version(), UNKNOWN), "compiler",
                     vt_json_text(vt_build_compiler(), UNKNOWN), "flags",
                     vt_json_text(vt_build_flags(), UNKNOWN), "libraries", libraries,
                     "binary_sha256", binary_sha256(), "kernel_path",
                     vt_json_text(p->kernel_path, UNKNOWN), "cpu_features", cpu_features());
}

static json_t *pack_reals(const double *values, int n)
{
    json_t *array = json_array();
    for (int i = 0; i < n; i++)
        json_array_append_new(array, vt_json_real(values[i]));
    return array;
}

static json_t *pack_data(const vt_provenance *p)
{
    json_t *files = json_array();
    for (int i = 0; i < p->n_files; i++)
        json_array_append_new(files, json_pack("{s:o, s:I, s:o}", "path",
                                               vt_json_text(p->files[i].path, UNKNOWN),
                                               "size_bytes", (json_int_t)p->files[i].size_bytes,
                                               "sha256", pack_hex(p->files[i].sha256)));
    return json_pack("{s:o, s:o, s:o, s:o, s:o}", "files", files, "digest",
                     vt_json_text(p->data_digest, UNKNOWN), "split_digest",
                     vt_json_text(p->split_digest, UNKNOWN), "mean",
                     pack_reals(p->mean, p->n_channels), "std", pack_reals(p->std, p->n_channels));
}

static json_t *pack_attempt(const vt_provenance *p, vt_text *patch)
{
    char utc[VT_UTC_SIZE], folder[PATH_MAX];
    json_t *argv = json_array();
    for (int i = 0; i < p->argc; i++)
        json_array_append_new(argv, vt_json_text(p->argv[i], "(not UTF-8)"));
    vt_clock_utc(vt_clock_unix_s(), utc);
    return json_pack(
        "{s:s, s:n, s:n, s:s, s:o, s:o, s:I, s:o, s:o, s:o, s:I, s:o, s:o, s:o, s:o, s:o, s:o}",
        "start_utc", utc, "end_utc", "wall_s", "state", "running", "argv", argv, "folder",
        vt_json_text(getcwd(folder, sizeof folder), UNKNOWN), "pid", (json_int_t)getpid(),
        "exp_name", vt_json_text(p->exp_name, UNKNOWN), "exp_id", vt_json_text(p->exp_id, UNKNOWN),
        "run_id", vt_json_text(p->run_id, UNKNOWN), "first_step", (json_int_t)p->step,
        "numerics_id", vt_json_text(p->numerics_id, UNKNOWN), "git",
        pack_git(p->code_dir ? p->code_dir : ".", patch), "build", pack_build(p), "host",
        pack_host(p), "data", pack_data(p), "environment", pack_environment());
}

json_t *vt_provenance_here(const vt_provenance *p)
{
    char utc[VT_UTC_SIZE], folder[PATH_MAX];
    vt_text patch = {0};
    vt_clock_utc(vt_clock_unix_s(), utc);
    json_t *git = pack_git(p->code_dir ? p->code_dir : ".", &patch);
    json_t *here = json_pack("{s:s, s:o, s:o, s:I, s:o, s:o, s:o, s:o}", "time_utc", utc, "folder",
                             vt_json_text(getcwd(folder, sizeof folder), UNKNOWN), "git", git,
                             "patch_bytes", (json_int_t)patch.size, "build", pack_build(p), "host",
                             pack_host(p), "environment", pack_environment(), "numerics_id",
                             vt_json_text(p->numerics_id, UNKNOWN));
    vt_text_release(&patch);
    return here;
}

/* The attempts so far; an empty list if there is no file or it is of no use. */
static vt_status load(int dir_fd, json_t **root, vt_error *err)
{
    vt_error reason = {0};
    vt_status status = vt_json_read(dir_fd, FILE_NAME, FILE_CAP, root, &reason);
    if (status != VT_OK && status != VT_ERR_NOINPUT && status != VT_ERR_DATA)
        return vt_fail(err, status, "%s", reason.text);
    if (status == VT_OK && json_is_array(json_object_get(*root, "attempts")))
        return VT_OK;
    if (status != VT_ERR_NOINPUT)
        vt_log_write(VT_LOG_WARNING, "%s; starting a new list of attempts",
                     reason.text[0] ? reason.text : FILE_NAME ": no list of attempts in it");
    json_decref(*root);
    *root = json_pack("{s:[]}", "attempts");
    return *root ? VT_OK : vt_fail(err, VT_ERR_NOMEM, "%s: no memory", FILE_NAME);
}

/* Writes the end of an attempt that could not: it was killed. */
static void close_killed(json_t *attempt, int64_t last_sign_s)
{
    char utc[VT_UTC_SIZE];
    const char *start_utc = json_string_value(json_object_get(attempt, "start_utc"));
    int64_t start_s = start_utc ? vt_clock_parse_utc(start_utc) : last_sign_s;
    int64_t end_s = last_sign_s > start_s ? last_sign_s : start_s;
    if (!attempt || !json_is_null(json_object_get(attempt, "end_utc")))
        return;
    vt_clock_utc(end_s, utc);
    json_object_set_new(attempt, "end_utc", json_string(utc));
    json_object_set_new(attempt, "wall_s", vt_json_real((double)(end_s - start_s)));
    json_object_set_new(attempt, "state", json_string("killed"));
}

vt_status vt_provenance_begin(int dir_fd, const vt_provenance *p, vt_error *err)
{
    vt_phase phase = vt_phase_enter(VT_PHASE_PUBLISH);
    vt_text patch = {0};
    json_t *root = NULL;
    vt_status status = load(dir_fd, &root, err);
    if (status != VT_OK)
        goto done;
    json_t *attempts = json_object_get(root, "attempts"), *attempt = pack_attempt(p, &patch);
    json_object_set_new(attempt, "seed", json_integer(p->seed));
    close_killed(json_array_get(attempts, json_array_size(attempts) - 1), p->last_sign_s);
    if (json_array_append_new(attempts, attempt) != 0) {
        json_decref(root);
        root = NULL;
    }
    status = vt_json_publish(dir_fd, FILE_NAME, root, err);
    if (status == VT_OK && patch.size)
        status = vt_fs_publish(dir_fd, PATCH_NAME, patch.data, patch.size, err);
done:
    vt_text_release(&patch);
    vt_phase_enter(phase);
    return status;
}

vt_status vt_provenance_end(int dir_fd, const vt_provenance_outcome *outcome,
                            vt_provenance_totals *totals, vt_error *err)
{
    vt_phase phase = vt_phase_enter(VT_PHASE_PUBLISH);
    char utc[VT_UTC_SIZE];
    json_t *root = NULL, *attempt;
    size_t i;
    *totals = (vt_provenance_totals){0};
    vt_status status = load(dir_fd, &root, err);
    if (status != VT_OK)
        goto done;
    json_t *attempts = json_object_get(root, "attempts");
    attempt = json_array_get(attempts, json_array_size(attempts) - 1);
    if (attempt && outcome->wall_s < 0) {
        close_killed(attempt, outcome->last_sign_s);
    } else if (attempt) {
        vt_clock_utc(vt_clock_unix_s(), utc);
        json_object_set_new(attempt, "end_utc", json_string(utc));
        json_object_set_new(attempt, "wall_s", vt_json_real(outcome->wall_s));
    }
    if (attempt) {
        json_object_set_new(attempt, "state", json_string(outcome->state));
        json_object_set_new(attempt, "exit_code", json_integer((json_int_t)outcome->code));
        json_object_set_new(attempt, "last_step", json_integer(outcome->step));
    }
    json_array_foreach(attempts, i, attempt)
    {
        totals->attempts++;
        totals->wall_s += json_number_value(json_object_get(attempt, "wall_s"));
    }
    status = vt_json_publish(dir_fd, FILE_NAME, root, err);
done:
    vt_phase_enter(phase);
    return status;
}
