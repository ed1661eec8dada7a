/*
 * vitrine-h5 [--parent PID] [--if-behind] RUNDIR: publishes RUNDIR/run.h5 from the run's journal,
 * captures and text files, and prints its results digest. Exit codes as everywhere (base/status.h).
 *
 * The only program that links HDF5, so that no fault of that library reaches a training run. It
 * dies with the process that started it.
 */
#include "base/log.h"
#include "base/version.h"
#include "h5/parts.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <unistd.h>

static const char usage[] = "Usage: vitrine-h5 [--parent PID] [--if-behind] RUNDIR\n"
                            "Writes RUNDIR/run.h5 from the journal and the other files of a run.\n"
                            "  --parent PID  leave if the process PID, which started this one, "
                            "is gone\n"
                            "  --if-behind   leave a run.h5 alone that was made from all of the "
                            "journal\n";

static void put_root(vt_h5_file *file, const vt_history *h)
{
    const vt_runinfo *info = &h->info;
    char hex[VT_SHA256_HEX_SIZE];
    uint8_t complete = h->done;
    bool trained = h->n_train > 0;
    vt_h5_attr_text(file, "/", "NX_class", "NXroot");
    vt_h5_attr_text(file, "/", "default",
                    trained || !h->n_eval[VT_SPLIT_TEST] ? "train" : "eval/test");
    vt_h5_attr_i64(file, "/", "schema", 1);
    vt_h5_attr_text(file, "/", "exp_name", info->exp_name);
    vt_h5_attr_text(file, "/", "exp_id", info->exp_id);
    vt_h5_attr_text(file, "/", "run_id", info->run_id);
    vt_h5_attr(file, "/", "seed", VT_H5_U64, -1, &info->seed);
    vt_h5_attr_text(file, "/", "data_digest", info->data_digest);
    vt_h5_attr_text(file, "/", "numerics", info->numerics);
    vt_h5_attr_text(file, "/", "select", info->select);
    vt_h5_attr_i64(file, "/", "epochs", info->epochs);
    vt_h5_attr_i64(file, "/", "steps_per_epoch", info->steps_per_epoch);
    for (int i = 0; i < VT_SPLIT_COUNT; i++) {
        char name[32];
        snprintf(name, sizeof name, "images_%s", vt_split_name((vt_split)i));
        vt_h5_attr_i64(file, "/", name, info->images[i]);
    }
    vt_h5_attr_i64(file, "/", "n_params", info->n_params);
    vt_h5_attr_i64(file, "/", "macs_per_image", info->macs);
    vt_h5_attr(file, "/", "complete", VT_H5_U8, -1, &complete);
    if (h->done) {
        vt_sha256_hex(h->last.weights_sha256, hex);
        vt_h5_attr_text(file, "/", "weights_sha256", hex);
    }
}

static vt_status put_all(vt_h5_file *file, const vt_h5_source *source, vt_error *err)
{
    put_root(file, source->history);
    vt_status status = vt_h5_put_metrics(file, source, err);
    if (status == VT_OK)
        status = vt_h5_put_attention(file, source, err);
    return status == VT_OK ? vt_h5_put_context(file, source, err) : status;
}

/* Two of these at a time would publish in no particular order: the second waits, and reads the
 * journal after that. A file system without locks is no reason to fail. */
static vt_status wait_for_turn(int dir_fd, int *journal_fd, vt_error *err)
{
    vt_status status = vt_fs_open_read(dir_fd, "journal", journal_fd, NULL, err);
    while (status == VT_OK && flock(*journal_fd, LOCK_EX) != 0 && errno == EINTR)
        ;
    return status;
}

static vt_status publish(const char *path, bool if_behind, vt_error *err)
{
    vt_history history = {0};
    vt_h5_file file;
    uint8_t digest[VT_SHA256_SIZE];
    char hex[VT_SHA256_HEX_SIZE];
    int dir_fd = -1, journal_fd = -1;
    vt_status status = vt_fs_open_dir(AT_FDCWD, path, &dir_fd, err);
    if (status == VT_OK)
        status = wait_for_turn(dir_fd, &journal_fd, err);
    if (status == VT_OK)
        status = vt_history_read(&history, dir_fd, err);
    vt_sha256_hex(history.hash, hex);
    if (status != VT_OK || (if_behind && vt_h5_is_of(dir_fd, hex)))
        goto done;
    const vt_h5_source source = {.dir_fd = dir_fd, .path = path, .history = &history};
    vt_h5_create(&file, dir_fd);
    if (put_all(&file, &source, err) != VT_OK)
        vt_h5_abandon(&file, err);
    vt_h5_digest(&file, digest);
    vt_sha256_hex(digest, hex);
    vt_h5_attr_text(&file, "/", "results_digest", hex);
    status = vt_h5_publish(&file, err);
    if (status == VT_OK)
        printf("%s  %s/" VT_H5_NAME "\n", hex, path);
done:
    vt_history_release(&history);
    vt_fs_close(&journal_fd);
    vt_fs_close(&dir_fd);
    return status;
}

/* A parent that died before the kernel was asked to tell is noticed by its number. */
static bool follow_parent(const char *text)
{
    char *end;
    long parent = strtol(text, &end, 10);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || *end || parent < 1)
        return false;
    if (nice(10) < 0)
        errno = 0; /* only kindness */
    return getppid() == (pid_t)parent;
}

int main(int argc, char **argv)
{
    vt_error err = {0};
    if (!vt_fs_keep_standard_streams())
        return VT_ERR_IO;
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        fputs(usage, stdout);
        return VT_OK;
    }
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        printf("vitrine-h5 %s\n", vt_version());
        return VT_OK;
    }
    bool child = argc > 2 && strcmp(argv[1], "--parent") == 0;
    int at = child ? 3 : 1;
    bool if_behind = at < argc && strcmp(argv[at], "--if-behind") == 0;
    at += if_behind;
    if (at != argc - 1 || argv[at][0] == '-') {
        fputs(usage, stderr);
        return VT_ERR_USAGE;
    }
    signal(SIGXFSZ, SIG_IGN); /* a file-size limit is an error like a full disk */
    if (child && !follow_parent(argv[2]))
        return VT_ERR_STOPPED;
    if (!child)
        prctl(PR_SET_PDEATHSIG, SIGTERM);
    vt_status status = publish(argv[at], if_behind, &err);
    if (status != VT_OK)
        vt_log_write(VT_LOG_ERROR, "%s", err.text);
    if (fflush(stdout) != 0 && status == VT_OK)
        status = VT_ERR_IO;
    /* Not through HDF5's own clean-up, which has crashed after errors. */
    _exit((int)status);
}
