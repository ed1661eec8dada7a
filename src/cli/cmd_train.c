#include "base/log.h"
#include "base/phase.h"
#include "cli/cmd.h"
#include "cli/options.h"
#include "train/train.h"

#include <signal.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <string.h>
#include <unistd.h>

static volatile sig_atomic_t stop_requested; /* a signal handler can reach nothing else */

/* The first signal asks for a clean stop, the second leaves at once. */
static void on_stop_signal(int signal_number)
{
    (void)signal_number;
    if (stop_requested)
        _exit(VT_ERR_STOPPED);
    stop_requested = 1;
}

static void install_signals(void)
{
    struct sigaction stop = {.sa_handler = on_stop_signal, .sa_flags = SA_RESTART};
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigaction(SIGINT, &stop, NULL);
    sigaction(SIGTERM, &stop, NULL);
    sigaction(SIGUSR1, &stop, NULL);
    sigaction(SIGPIPE, &ignore, NULL); /* a closed terminal or full log must not end a training */
    sigaction(SIGXFSZ, &ignore, NULL); /* becomes an error of the write */
}

/* What a training says is in its files too, so a stdout that cannot be written costs no run. */
static void forgive_stdout(void)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return;
    vt_log_write(VT_LOG_WARNING, "cannot write to standard output; the results are in the run's "
                                 "folder");
    __fpurge(stdout);
    clearerr(stdout);
}

vt_status vt_cmd_train(int argc, char **argv)
{
    bool force = false, dry_run = false, gradients = false;
    vt_common_options common = {0};
    const vt_option options[] = {
        {"force", 0, NULL, VT_OPTION_SWITCH, &force,
         "begin anew; an existing run is kept under another name"},
        {"save-gradients", 0, NULL, VT_OPTION_SWITCH, &gradients,
         "write the gradients of the first step to gradients-1.safetensors in the run folder"},
        {"dry-run", 0, NULL, VT_OPTION_SWITCH, &dry_run, "check everything, train nothing"},
        VT_CONFIG_OPTIONS(common),
        VT_RESULTS_OPTION(common),
        VT_COMMON_OPTIONS(common),
        VT_OPTION_END,
    };
    const vt_usage usage = {
        .verb = "train",
        .arguments = "EXP",
        .about = "Trains the experiment EXP: a name below experiments/ or a file. The same command "
                 "again resumes an interrupted run, or says that it is done.",
        .options = options,
        .min_arguments = 1,
        .max_arguments = 1};
    vt_arguments arguments = {0};
    vt_config *config = NULL;
    vt_error err = {0};
    vt_status status = vt_options_parse(&usage, &common, argc, argv, &arguments);
    if (status != VT_OK || common.help)
        return status;
    status = vt_options_load(&common, arguments.v[0], &config);
    if (status != VT_OK)
        return status;
    vt_phase_init();
    install_signals();
    const vt_train_options train = {
        .results = common.results ? common.results : "results",
        .force = force,
        .dry_run = dry_run,
        .quiet = common.quiet,
        .gradients = gradients,
        .argc = argc,
        .argv = argv,
        .stop = &stop_requested,
    };
    status = vt_train(config, &train, &err);
    forgive_stdout();
    if (status == VT_ERR_STOPPED)
        vt_log_write(VT_LOG_INFO, "%s; run the same command again to continue", err.text);
    else if (status != VT_OK)
        vt_log_write(VT_LOG_ERROR, "%s", err.text);
    vt_config_free(config);
    return status;
}
