#include "cli/manual.h"

#include "base/version.h"
#include "cli/cmd.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *name, *help;
    vt_cmd_fn *run;
} verbs[] = {
#define VT_VERB(name, suffix, arguments, help) {name, help, vt_cmd_##suffix},
#include "cli/verbs.def"
};

enum { N_VERBS = sizeof verbs / sizeof *verbs };

static bool find_form(const char *word, vt_manual_form *form)
{
    static const char *const words[] = {
#define X(name, word, help) word,
        VT_MANUAL_LIST(X)
#undef X
    };
    for (int i = 0; i < VT_MANUAL_COUNT; i++) {
        if (strcmp(words[i], word) != 0)
            continue;
        *form = (vt_manual_form)i;
        return true;
    }
    return false;
}

static bool is_common(const vt_option *option)
{
    vt_common_options unused;
    const vt_option common[] = {VT_COMMON_OPTIONS(unused), VT_OPTION_END};
    for (const vt_option *o = common; o->name; o++)
        if (strcmp(o->name, option->name) == 0)
            return true;
    return false;
}

/* The manual page. */

/* Text for troff: a hyphen that can be copied, no request by accident. */
static void put_troff(const char *text)
{
    bool line_begins = true;
    for (; *text; text++) {
        if (line_begins && (*text == '.' || *text == '\''))
            fputs("\\&", stdout);
        if (*text == '-')
            fputs("\\-", stdout);
        else if (*text == '\\')
            fputs("\\e", stdout);
        else if (*text == '\'')
            fputs("\\(aq", stdout);
        else if (!line_begins || *text != ' ')
            putchar(*text);
        line_begins = *text == '\n' || (line_begins && *text == ' ');
    }
    putchar('\n');
}

static void put_man_option(const vt_option *option)
{
    printf(".TP\n");
    if (option->letter)
        printf("\\fB\\-%c\\fR, ", option->letter);
    printf("\\fB\\-\\-");
    for (const char *c = option->name; *c; c++)
        printf(*c == '-' ? "\\-" : "%c", *c);
    printf("\\fR%s", option->argument ? " \\fI" : "\n");
    if (option->argument) {
        for (const char *c = option->argument; *c; c++)
            printf(*c == '-' ? "\\-" : *c == '\\' ? "\\e" : "%c", *c);
        printf("\\fR\n");
    }
    put_troff(option->help);
}

static void put_man_verb(const vt_usage *usage)
{
    printf(".SS \"vitrine %s [options] ", usage->verb);
    for (const char *c = usage->arguments; *c; c++)
        printf(*c == '-' ? "\\-" : *c == '"' ? "\\(dq" : *c == '\\' ? "\\e" : "%c", *c);
    printf("\"\n");
    put_troff(usage->about);
    for (const vt_option *o = usage->options; o->name; o++)
        if (!is_common(o))
            put_man_option(o);
}

static void begin_man(void)
{
    printf(".TH VITRINE 1 2026-11-21 \"vitrine ");
    for (const char *c = vt_version(); *c; c++)
        printf(*c == '-' ? "\\-" : "%c", *c);
    printf("\" \"User Commands\"\n"
           ".SH NAME\n"
           "vitrine \\- train vision transformers, the same bits every time\n"
           ".SH SYNOPSIS\n"
           ".B vitrine\n"
           "\\fIVERB\\fR [\\fIoptions\\fR] \\fIARGUMENTS\\fR\n"
           ".SH DESCRIPTION\n"
           "Trains vision transformers and hybrids with convolutions from experiment files, and\n"
           "makes something of the results.\n"
           "Results are printed on standard output, what there is to say meanwhile on standard\n"
           "error.\n"
           "EXP is an experiment: a name below \\fIexperiments/\\fR or a file.\n"
           "RUN is a run: its folder, an experiment (its newest run), the first four or more\n"
           "digits of a run id, or \\fBlast\\fR.\n"
           ".SH VERBS\n");
}

static void end_man(void)
{
    vt_common_options unused;
    const vt_option common[] = {VT_COMMON_OPTIONS(unused), VT_OPTION_END};
    printf(".SH \"OPTIONS OF EVERY VERB\"\n");
    for (const vt_option *o = common; o->name; o++)
        put_man_option(o);
    printf(".SH \"EXIT STATUS\"\n");
#define X(name, code, help)                                                                        \
    printf(".TP\n.B %d\n", code);                                                                  \
    put_troff(help);
    VT_STATUS_LIST(X)
#undef X
    printf(".SH ENVIRONMENT\n"
           ".TP\n.B NO_COLOR\nno colours unless \\fB\\-\\-color=always\\fR is given\n"
           ".TP\n.B TERM\n\\fBdumb\\fR: neither colours nor lines that are drawn over\n"
           ".SH FILES\n"
           ".TP\n.I experiments/\nexperiment files\n"
           ".TP\n.I results/EXP/RUNID/\na run\n"
           ".TP\n.I results/sweeps/NAME/\nthe manifest of a sweep, and what its runs printed\n"
           ".SH \"SEE ALSO\"\n"
           ".BR gnuplot (1)\n");
}

/* Completion for bash: a case a verb, then the rest. */

/* In single quotes of a shell. */
static void put_quoted(const char *text)
{
    for (; *text; text++)
        printf(*text == '\'' ? "'\\''" : *text == '\n' ? " " : "%c", *text);
}

static void put_bash_verb(const vt_usage *usage)
{
    printf("    %s)\n        options='", usage->verb);
    for (const vt_option *o = usage->options; o->name; o++)
        printf("%s--%s", o == usage->options ? "" : " ", o->name);
    printf("'\n        valued=' ");
    for (const vt_option *o = usage->options; o->name; o++) {
        if (o->argument)
            printf("--%s ", o->name);
        if (o->argument && o->letter)
            printf("-%c ", o->letter);
    }
    printf("'\n        arguments='");
    put_quoted(usage->arguments);
    printf("'\n        ;;\n");
}

static void begin_bash(void)
{
    printf("# Completion of vitrine for bash; made by `vitrine help --completion bash`.\n"
           "\n"
           "_vitrine_experiments() {\n"
           "    find experiments -name base -prune -o -name '*.yaml' -print 2>/dev/null |\n"
           "        sed 's|^experiments/||; s|\\.yaml$||'\n"
           "}\n"
           "\n"
           "# Experiments that have runs, and the runs' ids.\n"
           "_vitrine_runs() {\n"
           "    find results -mindepth 3 -maxdepth 3 -name journal 2>/dev/null |\n"
           "        sed 's|^results/||; s|/journal$||; s|/|\\n|' | sort -u\n"
           "    echo last\n"
           "}\n"
           "\n"
           "_vitrine() {\n"
           "    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}\n"
           "    local verbs='");
    for (int i = 0; i < N_VERBS; i++)
        printf("%s ", verbs[i].name);
    printf("help' options valued arguments choices=\n"
           "    COMPREPLY=()\n"
           "    if ((COMP_CWORD == 1)); then\n"
           "        mapfile -t COMPREPLY < <(compgen -W \"$verbs --help --version\" -- \"$word\")\n"
           "        return\n"
           "    fi\n"
           "    case ${COMP_WORDS[1]} in\n");
}

static void end_bash(void)
{
    printf(
        "    help)\n"
        "        options='--man --completion'\n"
        "        valued=' --completion '\n"
        "        arguments=$verbs\n"
        "        ;;\n"
        "    *)\n"
        "        return\n"
        "        ;;\n"
        "    esac\n"
        "    # --option=value comes as three words.\n"
        "    [[ $word == = ]] && word=\n"
        "    [[ $before == = ]] && before=${COMP_WORDS[COMP_CWORD - 2]}\n"
        "    case $before in\n"
        "    --color) choices='auto always never' ;;\n"
        "    --which) choices='best last' ;;\n"
        "    --emit) choices=slurm ;;\n"
        "    --completion) choices='bash zsh' ;;\n"
        "    --set | --grid)\n"
        "        choices=$(\"${COMP_WORDS[0]}\" config --schema 2>/dev/null |\n"
        "            sed -nE 's/^([a-z_]+(\\.[a-z0-9_]+)?)( \\*)?$/\\1=/p')\n"
        "        compopt -o nospace 2>/dev/null\n"
        "        ;;\n"
        "    *)\n"
        "        if [[ $valued == *\" $before \"* ]]; then\n"
        "            mapfile -t COMPREPLY < <(compgen -f -- \"$word\")\n"
        "            return\n"
        "        elif [[ $word == -* ]]; then\n"
        "            choices=$options\n"
        "        else\n"
        "            [[ $arguments == *EXP* ]] && choices+=\" $(_vitrine_experiments)\"\n"
        "            [[ $arguments == *RUN* ]] && choices+=\" $(_vitrine_runs)\"\n"
        "            choices+=\" $(tr '| ' '\\n' <<<\"$arguments\" | grep -xE '[a-z0-9-]+')\"\n"
        "            mapfile -t COMPREPLY < <(compgen -f -- \"$word\")\n"
        "        fi\n"
        "        ;;\n"
        "    esac\n"
        "    mapfile -t -O ${#COMPREPLY[@]} COMPREPLY < <(compgen -W \"$choices\" -- \"$word\")\n"
        "}\n"
        "complete -o filenames -F _vitrine vitrine\n");
}

/* Completion for zsh: specifications for _arguments. */

/* In single quotes and brackets. */
static void put_zsh(const char *text)
{
    for (; *text; text++) {
        if (strchr("[]:\\", *text))
            putchar('\\');
        printf(*text == '\'' ? "'\\''" : *text == '\n' ? " " : "%c", *text);
    }
}

static const char *zsh_action(const vt_option *option)
{
    static const char *const rows[][2] = {
        {"color", "(auto always never)"}, {"which", "(best last)"},  {"emit", "(slurm)"},
        {"set", "_vitrine_keys"},         {"grid", "_vitrine_keys"}, {"results", "_files -/"},
        {"data-dir", "_files -/"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (strcmp(rows[i][0], option->name) == 0)
            return rows[i][1];
    return "_files";
}

static void put_zsh_option(const vt_option *option, const char *dashes, const char *name)
{
    bool repeats = option->kind == VT_OPTION_TEXTS;
    printf("            '%s%s%s%s[", repeats ? "*" : "", dashes, name,
           option->argument ? (dashes[1] ? "=" : "+") : "");
    put_zsh(option->help);
    printf("]");
    if (option->argument) {
        printf(":");
        put_zsh(option->argument);
        printf(":%s", zsh_action(option));
    }
    printf("' \\\n");
}

static void put_zsh_verb(const vt_usage *usage)
{
    bool exp = strstr(usage->arguments, "EXP"), run = strstr(usage->arguments, "RUN");
    printf("    %s)\n        _arguments \\\n", usage->verb);
    for (const vt_option *o = usage->options; o->name; o++) {
        const char letter[2] = {o->letter};
        put_zsh_option(o, "--", o->name);
        if (o->letter)
            put_zsh_option(o, "-", letter);
    }
    printf("            '*:");
    put_zsh(usage->arguments);
    printf(":_vitrine_%s'\n        ;;\n", exp && run ? "any"
                                          : exp      ? "experiments"
                                          : run      ? "runs"
                                                     : "files");
}

static void begin_zsh(void)
{
    printf("#compdef vitrine\n"
           "# Completion of vitrine for zsh; made by `vitrine help --completion zsh`.\n"
           "\n"
           "_vitrine_files() {\n"
           "    _files\n"
           "}\n"
           "\n"
           "_vitrine_experiments() {\n"
           "    local -a names\n"
           "    names=(experiments/**/*.yaml(N:r))\n"
           "    names=(${${names#experiments/}:#base/*})\n"
           "    compadd -a names\n"
           "    _files -g '*.yaml'\n"
           "}\n"
           "\n"
           "_vitrine_runs() {\n"
           "    local -a journals\n"
           "    journals=(results/*/*/journal(N:h))\n"
           "    compadd last ${journals:t} ${journals:h:t}\n"
           "    _files -/\n"
           "}\n"
           "\n"
           "_vitrine_any() {\n"
           "    _vitrine_experiments\n"
           "    _vitrine_runs\n"
           "}\n"
           "\n"
           "_vitrine_keys() {\n"
           "    local -a keys\n"
           "    keys=(${(f)\"$(_call_program keys vitrine config --schema 2>/dev/null |\n"
           "        sed -nE 's/^([a-z_]+(\\.[a-z0-9_]+)?)( \\*)?$/\\1=/p')\"})\n"
           "    compadd -S '' -a keys\n"
           "}\n"
           "\n"
           "_vitrine() {\n"
           "    local -a verbs\n"
           "    verbs=(\n");
    for (int i = 0; i < N_VERBS; i++) {
        printf("        '%s:", verbs[i].name);
        put_zsh(verbs[i].help);
        printf("'\n");
    }
    printf("        'help:print the verbs, or the help of one'\n"
           "    )\n"
           "    if ((CURRENT == 2)); then\n"
           "        _describe verb verbs\n"
           "        return\n"
           "    fi\n"
           "    local verb=$words[2]\n"
           "    shift words\n"
           "    ((CURRENT--))\n"
           "    case $verb in\n");
}

static void end_zsh(void)
{
    printf("    help)\n"
           "        _describe verb verbs\n"
           "        ;;\n"
           "    esac\n"
           "}\n"
           "\n"
           "_vitrine \"$@\"\n");
}

static const struct {
    void (*begin)(void), (*verb)(const vt_usage *usage), (*end)(void);
} forms[VT_MANUAL_COUNT] = {
    [VT_MANUAL_MAN] = {begin_man, put_man_verb, end_man},
    [VT_MANUAL_BASH] = {begin_bash, put_bash_verb, end_bash},
    [VT_MANUAL_ZSH] = {begin_zsh, put_zsh_verb, end_zsh},
};

bool vt_manual_print_verb(const vt_usage *usage, const char *word)
{
    vt_manual_form form;
    if (!find_form(word, &form))
        return false;
    forms[form].verb(usage);
    return true;
}

vt_status vt_manual_print(const char *word)
{
    vt_manual_form form;
    if (!find_form(word, &form))
        return vt_usage_error("help", "there is completion for bash and zsh, not for '%s'", word);
    forms[form].begin();
    for (int i = 0; i < N_VERBS; i++) {
        char name[64], help[64];
        snprintf(name, sizeof name, "%s", verbs[i].name);
        snprintf(help, sizeof help, "--help=%s", word);
        char *argv[] = {name, help, NULL};
        vt_status status = verbs[i].run(2, argv);
        if (status != VT_OK)
            return status;
    }
    forms[form].end();
    return VT_OK;
}
