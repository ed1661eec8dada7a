#include "sweep/slurm.h"

#include <string.h>

/* As one word of the shell. */
static void quote(const char *word, vt_text *out)
{
    vt_text_printf(out, "'");
    for (; *word; word++)
        vt_text_printf(out, *word == '\'' ? "'\\''" : "%c", *word);
    vt_text_printf(out, "'");
}

/* A path in a directive, where % begins a pattern. */
static vt_status put_path(const char *path, vt_text *out, vt_error *err)
{
    for (const char *c = path; *c; c++)
        if (strchr("'\"\\", *c) || (unsigned char)*c < ' ' || *c == 0x7f)
            return vt_fail(err, VT_ERR_USAGE,
                           "%s: quotes, backslashes and control characters in a path cannot be "
                           "said in a script for Slurm",
                           path);
    for (; *path; path++)
        vt_text_printf(out, *path == '%' ? "%%%%" : "%c", *path);
    return VT_OK;
}

vt_status vt_slurm_script(const vt_sweep *sweep, const vt_slurm *slurm, vt_text *script,
                          vt_error *err)
{
    vt_text_printf(
        script,
        "#!/bin/bash\n"
        "# %d runs of the sweep %s. What sbatch is told on its command line counts more\n"
        "# than the lines below: sbatch --time=4:00:00 --cpus-per-task=8 THIS\n"
        "#SBATCH --job-name=%s\n"
        "#SBATCH --array=0-%d",
        sweep->n_runs, sweep->name, sweep->name, sweep->n_runs - 1);
    if (slurm->at_once)
        vt_text_printf(script, "%%%d", slurm->at_once);
    vt_text_printf(script,
                   "\n"
                   "#SBATCH --ntasks=1\n"
                   "#SBATCH --cpus-per-task=%d\n"
                   "#SBATCH --signal=TERM@120\n"
                   "#SBATCH --requeue\n"
                   "#SBATCH --open-mode=append\n"
                   "#SBATCH --output=\"",
                   slurm->threads ? slurm->threads : 1);
    vt_status status = put_path(slurm->logs, script, err);
    if (status != VT_OK)
        return status;
    vt_text_printf(script, "/run-%%a.log\"\n\ncd ");
    quote(slurm->folder, script);
    vt_text_printf(script,
                   " || exit 66\nsrun --ntasks=1 --cpus-per-task=\"$SLURM_CPUS_PER_TASK\" ");
    quote(slurm->program, script);
    vt_text_printf(script,
                   " sweep %s \\\n    --row=\"$SLURM_ARRAY_TASK_ID\" "
                   "--threads=\"$SLURM_CPUS_PER_TASK\" --results=",
                   sweep->name);
    quote(slurm->results, script);
    if (slurm->data_dir) {
        vt_text_printf(script, " --data-dir=");
        quote(slurm->data_dir, script);
    }
    vt_text_printf(script,
                   "\n"
                   "code=$?\n"
                   "# 75: saved before the time was up. The same task, queued again, goes on.\n"
                   "if [ \"$code\" -eq 75 ]; then\n"
                   "    scontrol requeue \"${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID\"\n"
                   "fi\n"
                   "exit \"$code\"\n");
    return script->failed ? vt_fail(err, VT_ERR_NOMEM, "no memory for the script") : VT_OK;
}
