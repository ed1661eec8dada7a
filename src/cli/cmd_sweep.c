#include "base/log.h"
#include "base/mem.h"
#include "cli/cmd.h"
#include "cli/options.h"
#include "results/json.h"
#include "sweep/jobs.h"
#include "sweep/manifest.h"
#include "sweep/slurm.h"
#include "sweep/standing.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SCRIPT_NAME "slurm.sh"

struct command {
    vt_common_options common;
    const char *word, *results, *emit;
    vt_text_values grid, seeds;
    vt_option_u64 jobs, row;
    bool fail_fast, dry_run, status, json;
};

static vt_status print_table(const vt_standing *standing, const vt_sweep *sweep, bool runs,
                             vt_error *err)
{
    vt_table table;
    vt_text text = {0};
    vt_table_init(&table);
    if (runs)
        vt_standing_runs(standing, sweep, &table);
    else
        vt_standing_settings(standing, sweep, &table);
    vt_status status = vt_table_print(&table, VT_TABLE_TEXT, &text, err);
    if (status == VT_OK)
        fputs(text.data, stdout);
    vt_text_release(&text);
    vt_table_release(&table);
    return status;
}

static vt_status print_json(const vt_standing *standing, const vt_sweep *sweep, vt_error *err)
{
    vt_text text = {0};
    vt_status status = vt_json_print(&text, vt_standing_json(standing, sweep), err);
    if (status == VT_OK)
        fputs(text.data, stdout);
    vt_text_release(&text);
    return status;
}

/* `runs`: with a row for each. */
static vt_status print_standing(const vt_sweep *sweep, const struct command *c, bool runs,
                                vt_error *err)
{
    vt_standing standing;
    vt_status status = vt_standing_read_all(&standing, sweep, c->results, err);
    if (status == VT_OK && c->json) {
        status = print_json(&standing, sweep, err);
    } else if (status == VT_OK) {
        printf("sweep    %s  %d of %d runs done\n", sweep->name, standing.n_done, sweep->n_runs);
        if (runs)
            status = print_table(&standing, sweep, true, err);
        if (runs)
            printf("\n");
        if (status == VT_OK)
            status = print_table(&standing, sweep, false, err);
        for (int i = 0; i < standing.n_runs; i++)
            if (standing.run[i].state == VT_RUN_BROKEN)
                vt_log_write(VT_LOG_WARNING, "%s: %s", standing.run[i].place.path,
                             standing.run[i].problem);
    }
    vt_standing_release(&standing);
    return status;
}

static vt_status emit_script(const vt_sweep *sweep, const struct command *c, int dir_fd,
                             vt_error *err)
{
    char program[PATH_MAX], folder[PATH_MAX], logs[PATH_MAX];
    vt_text script = {0};
    ssize_t size = readlink("/proc/self/exe", program, sizeof program - 1);
    if (size < 0 || !getcwd(folder, sizeof folder))
        return vt_fail(err, VT_ERR_IO, "cannot find out where the program is: %s", strerror(errno));
    program[size] = '\0';
    vt_fs_path(dir_fd, NULL, logs);
    const vt_slurm slurm = {.program = program,
                            .folder = folder,
                            .results = c->results,
                            .logs = logs,
                            .data_dir = c->common.data_dir,
                            .at_once = (int)c->jobs.value,
                            .threads = (int)c->common.threads.value};
    vt_status status = vt_slurm_script(sweep, &slurm, &script, err);
    if (status == VT_OK)
        status = vt_fs_publish(dir_fd, SCRIPT_NAME, script.data, script.size, err);
    if (status == VT_OK)
        printf("sbatch %s/sweeps/%s/" SCRIPT_NAME "\n", c->results, sweep->name);
    vt_text_release(&script);
    return status;
}

static vt_status run_all(vt_sweep *sweep, const struct command *c, int dir_fd, vt_error *err)
{
    int at_once = c->jobs.given ? (int)c->jobs.value : 1;
    const char *term = getenv("TERM");
    const vt_jobs jobs = {.results = c->results,
                          .data_dir = c->common.data_dir,
                          .dir_fd = dir_fd,
                          .at_once = at_once < sweep->n_runs ? at_once : sweep->n_runs,
                          .threads = (int)c->common.threads.value,
                          .fail_fast = c->fail_fast,
                          .quiet = c->common.quiet,
                          .live = isatty(STDERR_FILENO) && term && strcmp(term, "dumb") != 0};
    int *code = vt_calloc((size_t)sweep->n_runs, sizeof *code);
    if (!code)
        return vt_fail(err, VT_ERR_NOMEM, "no memory for the sweep");
    vt_status status = vt_jobs_run(sweep, &jobs, code, err);
    vt_error second = {0};
    vt_status printed = print_standing(sweep, c, false, &second);
    vt_free(code);
    return status == VT_OK && printed != VT_OK ? vt_fail(err, printed, "%s", second.text) : status;
}

/* The experiment file may have been edited since the sweep was planned. */
static vt_status check_row(const vt_sweep *sweep, int row, const struct command *c, vt_error *err)
{
    vt_grid grid = {0};
    vt_sweep now;
    vt_text report = {0};
    const vt_sweep_run *run = &sweep->run[row];
    for (int k = 0; k < sweep->n_keys && k < VT_GRID_KEYS_MAX; k++)
        grid.key[grid.n_keys++] = (vt_grid_key){sweep->key[k], &run->value[k], 1};
    grid.seed[grid.n_seeds++] = run->seed;
    const vt_sweep_request request = {.exp = sweep->exp,
                                      .sets = sweep->set,
                                      .n_sets = sweep->n_sets,
                                      .grid = &grid,
                                      .data_dir = c->common.data_dir};
    vt_status status = vt_sweep_plan(&now, &request, &report, err);
    if (report.data)
        fputs(report.data, stderr);
    if (status == VT_OK && strcmp(now.run[0].exp_id, run->exp_id) != 0)
        status = vt_fail(err, VT_ERR_CONFIG,
                         "%s: the experiment is not the one that the sweep %s was planned with; "
                         "plan it anew",
                         sweep->exp, sweep->name);
    vt_text_release(&report);
    vt_sweep_release(&now);
    return status;
}

/* Becomes the training of a row, so that a scheduler's signals reach it. */
static vt_status run_row(vt_sweep *sweep, const struct command *c, vt_error *err)
{
    if (c->row.value >= (uint64_t)sweep->n_runs)
        return vt_fail(err, VT_ERR_USAGE, "the sweep %s has the rows 0 to %d, not %" PRIu64,
                       sweep->name, sweep->n_runs - 1, c->row.value);
    int row = (int)c->row.value;
    vt_status status = check_row(sweep, row, c, err);
    if (status != VT_OK)
        return status;
    char **argv =
        vt_sweep_command(sweep, row, c->results, c->common.data_dir, (int)c->common.threads.value);
    if (!argv)
        return vt_fail(err, VT_ERR_NOMEM, "no memory to start the run");
    execv("/proc/self/exe", argv);
    return vt_fail(err, VT_ERR_INTERNAL, "cannot start this program anew: %s", strerror(errno));
}

static vt_status plan(vt_sweep *sweep, const struct command *c, vt_error *err)
{
    vt_text report = {0};
    vt_store texts = {0};
    vt_grid grid = {0};
    vt_status status = VT_OK;
    for (int i = 0; status == VT_OK && i < c->grid.n; i++)
        status = vt_grid_add(&grid, c->grid.v[i], &texts, err);
    for (int i = 0; status == VT_OK && i < c->seeds.n; i++)
        status = vt_grid_add_seeds(&grid, c->seeds.v[i], err);
    const vt_sweep_request request = {.exp = c->word,
                                      .sets = c->common.sets.v,
                                      .n_sets = c->common.sets.n,
                                      .grid = &grid,
                                      .data_dir = c->common.data_dir,
                                      .threads = (int64_t)c->common.threads.value,
                                      .color = vt_color_wanted(&c->common, STDERR_FILENO)};
    if (status == VT_OK)
        status = vt_sweep_plan(sweep, &request, &report, err);
    if (report.data)
        fputs(report.data, stderr);
    if (status == VT_OK && !c->status)
        status = vt_sweep_identify(sweep, &request, err);
    vt_text_release(&report);
    vt_store_release(&texts);
    return status;
}

static vt_status carry_out(vt_sweep *sweep, const struct command *c, vt_error *err)
{
    bool planned = c->grid.n || c->seeds.n;
    char name[VT_NAME_MAX + 1];
    int dir_fd = -1;
    vt_status status = planned ? plan(sweep, c, err) : VT_OK;
    if (status == VT_OK && (c->status || c->row.given)) {
        snprintf(name, sizeof name, "%s", planned ? sweep->name : "");
        vt_sweep_release(sweep);
        status = vt_sweep_read(sweep, c->results, planned ? name : c->word, err);
        if (status == VT_OK)
            status = c->status ? print_standing(sweep, c, true, err) : run_row(sweep, c, err);
        return status;
    }
    if (status == VT_OK && c->dry_run)
        return print_standing(sweep, c, true, err);
    if (status == VT_OK)
        status = vt_sweep_publish(sweep, c->results, &dir_fd, err);
    if (status == VT_OK)
        status = c->emit ? emit_script(sweep, c, dir_fd, err) : run_all(sweep, c, dir_fd, err);
    vt_fs_close(&dir_fd);
    return status;
}

static vt_status check_command(const struct command *c)
{
    bool planned = c->grid.n || c->seeds.n;
    if (c->status + c->row.given + c->dry_run + (c->emit != NULL) > 1)
        return vt_usage_error("sweep", "only one of --status, --row, --dry-run and --emit");
    if (c->emit && strcmp(c->emit, "slurm") != 0)
        return vt_usage_error("sweep", "--emit is for slurm, not '%s'", c->emit);
    if (c->json && !c->status)
        return vt_usage_error("sweep", "--json goes with --status");
    if (c->row.given && planned)
        return vt_usage_error("sweep", "--row takes the name of a sweep, without --grid, --seeds");
    if (!planned && !c->status && !c->row.given)
        return vt_usage_error("sweep",
                              "say what to vary: --grid KEY=VALUE,VALUE... or --seeds 0..4");
    if (!planned && c->common.sets.n)
        return vt_usage_error("sweep", "--set needs --grid or --seeds beside it");
    if (c->jobs.given && (c->jobs.value < 1 || c->jobs.value > 1000))
        return vt_usage_error("sweep", "--jobs is from 1 to 1000");
    if (c->common.threads.value > 10000)
        return vt_usage_error("sweep", "--threads is too large");
    return VT_OK;
}

vt_status vt_cmd_sweep(int argc, char **argv)
{
    struct command c = {0};
    const vt_option options[] = {
        {"grid", 0, "KEY=A,B", VT_OPTION_TEXTS, &c.grid,
         "values of a key, one after the other; of several keys every combination"},
        {"seeds", 0, "SEEDS", VT_OPTION_TEXTS, &c.seeds,
         "seeds of each setting, such as 0..4 or 1,2,5 (default: the experiment's)"},
        {"jobs", 'j', "N", VT_OPTION_U64, &c.jobs, "runs at a time (default 1)"},
        {"fail-fast", 0, NULL, VT_OPTION_SWITCH, &c.fail_fast,
         "a run that fails stops the others, which save"},
        {"dry-run", 0, NULL, VT_OPTION_SWITCH, &c.dry_run,
         "check everything and list the runs; write and train nothing"},
        {"status", 0, NULL, VT_OPTION_SWITCH, &c.status,
         "say how a sweep stands; EXP may be a sweep's name"},
        {"json", 0, NULL, VT_OPTION_SWITCH, &c.json, "print the status as JSON"},
        {"emit", 0, "slurm", VT_OPTION_TEXT, &c.emit,
         "write an array job's script instead of training"},
        {"row", 0, "N", VT_OPTION_U64, &c.row, "train row N of the sweep EXP; for such scripts"},
        {"set", 0, "KEY=VALUE", VT_OPTION_TEXTS, &c.common.sets,
         "set a key in all runs, the value as in YAML; may be repeated"},
        {"threads", 0, "N", VT_OPTION_U64, &c.common.threads,
         "threads of each run (default: the cores, divided among the runs at a time)"},
        {"data-dir", 0, "DIR", VT_OPTION_TEXT, &c.common.data_dir, "folder of the data files"},
        VT_RESULTS_OPTION(c.common),
        VT_COMMON_OPTIONS(c.common),
        VT_OPTION_END,
    };
    const vt_usage usage = {
        .verb = "sweep",
        .arguments = "EXP",
        .about = "Trains the experiment EXP under every combination of settings and seeds, as "
                 "processes of its own. The same command again goes on where it stopped.",
        .options = options,
        .min_arguments = 1,
        .max_arguments = 1};
    vt_arguments arguments = {0};
    vt_sweep sweep = {0};
    vt_error err = {0};
    vt_status status = vt_options_parse(&usage, &c.common, argc, argv, &arguments);
    if (status != VT_OK || c.common.help)
        return status;
    c.word = arguments.v[0];
    c.results = c.common.results ? c.common.results : "results";
    status = check_command(&c);
    if (status != VT_OK)
        return status;
    status = carry_out(&sweep, &c, &err);
    if (status == VT_ERR_STOPPED)
        vt_log_write(VT_LOG_INFO, "%s; run the same command again to continue", err.text);
    else if (status != VT_OK && *err.text)
        vt_log_write(VT_LOG_ERROR, "%s", err.text);
    vt_sweep_release(&sweep);
    return status;
}
