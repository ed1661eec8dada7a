#include "report/baseline_line.h"

#include "report/judge.h"

#include <stdio.h>
#include <string.h>

void vt_baseline_line(const vt_config *config, const char *results, const char *path, vt_text *line)
{
    vt_baseline baseline = {0};
    vt_run_place place = {0};
    vt_outcome outcome = {0};
    vt_text keys = {0};
    vt_error err = {0};
    vt_status status = vt_baseline_read(&baseline, results, vt_config_name(config), &err);
    if (status == VT_ERR_NOINPUT)
        goto out;
    vt_text_printf(line, "baseline %s: ", vt_config_name(config));
    snprintf(place.path, sizeof place.path, "%s", path);
    if (status == VT_OK)
        status = vt_outcome_read(&outcome, &place, &err);
    int n = status == VT_OK ? vt_baseline_differences(&baseline, config, &keys) : 0;
    if (status != VT_OK) {
        vt_text_printf(line, "not read: %s", err.text);
    } else if (n || strcmp(outcome.exp_id, vt_baseline_current(&baseline)->exp_id) != 0) {
        vt_text_printf(line, "of another configuration (%d key%s)", n, n == 1 ? "" : "s");
    } else if (!*outcome.metrics_sha256) { /* still locked by its own process, so not "done" */
        vt_text_printf(line, "not compared: the run is %s", vt_run_state_word(outcome.state));
    } else {
        vt_baseline_run run = vt_baseline_run_of(&outcome);
        vt_judgement j = vt_judge(&baseline, &run, 1, false);
        vt_judgement_line(&j, line);
    }
    vt_text_printf(line, "\n");
out:
    vt_text_release(&keys);
    vt_outcome_release(&outcome);
    vt_baseline_release(&baseline);
}
