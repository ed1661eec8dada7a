#include "base/fs.h"
#include "base/log.h"
#include "base/text.h"
#include "base/version.h"
#include "cli/cmd.h"
#include "cli/manual.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name, *arguments, *help;
    vt_cmd_fn *run;
} verbs[] = {
#define VT_VERB(name, suffix, arguments, help) {name, arguments, help, vt_cmd_##suffix},
#include "cli/verbs.def"
};

enum { N_VERBS = sizeof verbs / sizeof *verbs };

static void print_usage(FILE *out)
{
    fprintf(out, "Usage: vitrine VERB [options] ARGUMENTS\n"
                 "Trains vision transformers from experiment files, the same bits every time.\n\n"
                 "Verbs:\n");
    for (int i = 0; i < N_VERBS; i++)
        fprintf(out, "  %-10s %-24s %s\n", verbs[i].name, verbs[i].arguments, verbs[i].help);
    fprintf(out, "\n'vitrine VERB --help' lists a verb's options, 'vitrine help --man' prints the "
                 "manual page,\n'vitrine help --completion bash' (or zsh) a shell's completion.\n");
}

static void print_help(void)
{
    print_usage(stdout);
    printf("\nExit codes:\n");
#define X(name, code, help) printf("  %3d  %s\n", code, help);
    VT_STATUS_LIST(X)
#undef X
}

static int find_verb(const char *name)
{
    for (int i = 0; i < N_VERBS; i++)
        if (strcmp(verbs[i].name, name) == 0)
            return i;
    return -1;
}

static vt_status refuse_verb(const char *word)
{
    const char *names[N_VERBS];
    for (int i = 0; i < N_VERBS; i++)
        names[i] = verbs[i].name;
    const char *near = vt_suggest(word, names, N_VERBS);
    fprintf(stderr, "vitrine: unknown %s '%s'%s%s%s\n\n", *word == '-' ? "option" : "verb", word,
            near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
    print_usage(stderr);
    return VT_ERR_USAGE;
}

static vt_status run(int argc, char **argv)
{
    const char *word = argc > 1 ? argv[1] : NULL;
    if (!word) {
        print_usage(stderr);
        return VT_ERR_USAGE;
    }
    if (strcmp(word, "--version") == 0) {
        printf("vitrine %s\n", vt_version());
        return VT_OK;
    }
    bool help = strcmp(word, "help") == 0;
    if (help && argc > 2 && strcmp(argv[2], "--help") == 0)
        argc = 2;
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || (help && argc == 2)) {
        print_help();
        return VT_OK;
    }
    if (help && argc == 3 && strcmp(argv[2], "--man") == 0)
        return vt_manual_print("man");
    if (help && argc == 4 && strcmp(argv[2], "--completion") == 0)
        return vt_manual_print(argv[3]);
    int verb = find_verb(help ? argv[2] : word);
    if (verb < 0)
        return refuse_verb(help ? argv[2] : word);
    if (help) {
        char option[] = "--help";
        char *arguments[] = {argv[2], option, NULL};
        return verbs[verb].run(2, arguments);
    }
    return verbs[verb].run(argc - 1, argv + 1);
}

int main(int argc, char **argv)
{
    if (!vt_fs_keep_standard_streams())
        return VT_ERR_IO;
    vt_status status = run(argc, argv);
    /* A result that was not written is no result: a full disk shows here at the latest. */
    if ((fflush(stdout) != 0 || ferror(stdout)) && status == VT_OK) {
        vt_log_write(VT_LOG_ERROR, "cannot write to standard output: %s", strerror(errno));
        status = VT_ERR_IO;
    }
    return (int)status;
}
