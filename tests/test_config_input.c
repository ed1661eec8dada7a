/* What the configuration refuses: each case with its message and its code. */
#include "base/rng.h"
#include "config/schema.h"
#include "config_samples.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64], bad_path[100];

static void write_bytes(const char *path, const char *bytes, size_t size)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    fclose(file);
}

static int set_up(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "%s", "/tmp/vitrine-input-XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    snprintf(bad_path, sizeof bad_path, "%s/bad.yaml", folder);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    char command[100];
    snprintf(command, sizeof command, "rm -r '%s'", folder);
    return system(command);
}

/* Loads and expects the status; `messages` are '\n'-separated texts that must all appear. */
static void expect(const char *path, const char *const *sets, int n_sets, vt_status status,
                   const char *messages)
{
    vt_diagnostics diags = {0};
    vt_config *config;
    vt_status got = vt_config_load(&config, path, sets, n_sets, NULL, &diags);
    const char *text = diags.text.data ? diags.text.data : "";
    if (got != status)
        fail_msg("status %d, not %d, for %s %s:\n%s", got, status, path, n_sets ? sets[0] : "",
                 text);
    assert_true(got == VT_OK ? !!config : !config);
    while (*messages) {
        char message[400];
        int size = (int)strcspn(messages, "\n");
        snprintf(message, sizeof message, "%.*s", size, messages);
        if (!strstr(text, message))
            fail_msg("'%s' is not in the message for %s:\n%s", message, n_sets ? sets[0] : path,
                     text);
        messages += size + (messages[size] == '\n');
    }
    vt_config_free(config);
    vt_diagnostics_release(&diags);
}

static void expect_text(const char *text, const char *messages)
{
    write_bytes(bad_path, text, strlen(text));
    expect(bad_path, NULL, 0, VT_ERR_CONFIG, messages);
}

#define SWIN "model: {preset: swin_cifar}\n"
#define VIT "model: {family: vit, patch: 8, dim: 32, depth: 2, heads: 2}\n"

static void test_files(void **state)
{
    (void)state;
    static const struct {
        const char *text, *messages;
    } cases[] = {
        /* keys */
        {SWIN "optim:\n    lerning_rate: 3e-4\n",
         "bad.yaml:3:5: error: unknown key 'lerning_rate' in 'optim'\n"
         "    3 |     lerning_rate: 3e-4\n      |     ^~~~~~~~~~~~\n"
         "  did you mean 'lr'?  (keys of optim: name, lr, weight_decay"},
        {SWIN "train: {bs: 4}\n", "unknown key 'bs' in 'train'\ndid you mean 'batch'?"},
        {SWIN "optm: {lr: 1}\n", "unknown key 'optm'\ndid you mean 'optim'?"},
        {SWIN "optim: {batch: 4}\n", "did you mean 'eval.batch' or 'train.batch'?"},
        {SWIN "xyzzyplugh: 4\n", "unknown key 'xyzzyplugh'\n(keys: extends, model, data"},
        {SWIN "batch_size: 4\n", "unknown key 'batch_size'\ndid you mean 'train.batch'?"},
        {SWIN "optim.lr: 1\n", "unknown key 'optim.lr'\nwrite `optim: { lr: ... }`"},
        {SWIN "<<: {lr: 1}\n", "unknown key '<<'\nthere are no merge keys"},
        {"model: {family: swin, crust: 3}\n", "unknown key 'crust' in 'model'"},
        {SWIN "train: {device: gpu}\n", "'train.device' cannot be 'gpu'; allowed: cpu, cuda, auto"},
        {"optim: {lr: 1}\n" SWIN "optim: {eps: 1}\n",
         "bad.yaml:3:1: error: duplicate key 'optim'\nfirst given at \nbad.yaml:1:1"},
        {SWIN "train: {epochs: 1, epochs: 1}\n",
         "bad.yaml:2:20: error: duplicate key 'epochs'\nbad.yaml:2:9"},
        {SWIN "train: 5\n", "'train' holds keys and values, not the integer 5"},
        {SWIN "train: [1]\n", "'train' holds keys and values, not a list"},
        {"", "error: 'model.family' or 'model.preset' is needed"},
        {"model: {family: vit}\n",
         "'model.patch' is needed\n'model.dim' is needed\n'model.depth' is needed\n"
         "'model.heads' is needed"},
        {"model: {family: resnet}\n",
         "'model.family' cannot be 'resnet'; allowed: vit, swin, mobilevit, cct, hybrid"},
        {"model: {preset: swin_tt}\n",
         "unknown preset 'swin_tt'\ndid you mean 'swin_t'?\n(presets: vit_b_16,"},
        {"model: {family: vit, preset: swin_t}\n",
         "bad.yaml:1:30: error: preset 'swin_t' is of family swin, and model.family is vit\n"
         "model.family is set at \nbad.yaml:1:17"},
        /* types */
        {SWIN "train: {batch: \"64\"}\n",
         "'train.batch' needs an integer from 1 to 65536, not the text '64'\n"
         "a quoted value is always text"},
        {SWIN "train: {batch: 1e3}\n", "needs an integer from 1 to 65536, not the number 1e3"},
        {SWIN "train: {batch: [64]}\n", "needs an integer from 1 to 65536, not a list"},
        {SWIN "train: {batch: }\n", "'train.batch' has no value\nwrite null for the default"},
        {SWIN "optim: {lr: fast}\n",
         "'optim.lr' needs a number from 0 to 100, not the text 'fast'"},
        {SWIN "optim: {lr: nan}\n", "not the text 'nan'"},
        {SWIN "optim: {lr: .nan}\n", "'optim.lr' is .nan; allowed: from 0 to 100"},
        {SWIN "optim: {lr: -.inf}\n", "'optim.lr' is -.inf; allowed: from 0 to 100"},
        {SWIN "optim: {lr: true}\n", "not the truth value true"},
        {SWIN "data: {shuffle: no}\n",
         "'data.shuffle' needs true or false, not the text 'no'\n'yes', 'no', 'on' and 'off' are "
         "text in YAML 1.2"},
        {SWIN "data: {shuffle: 1}\n", "'data.shuffle' needs true or false, not the integer 1"},
        {SWIN "data: {shuffle: 'true'}\n", "not the text 'true'\na quoted value is always text"},
        {SWIN "data: {dir: 5}\n", "'data.dir' needs a text (in quotes), not the integer 5"},
        {SWIN "data: {dir: ''}\n", "'data.dir' is a text of 0 bytes; allowed: from 1 to 4000"},
        {SWIN "data: {dir: \"a\\nb\"}\n", "'data.dir' holds a control character (0x0a)"},
        {SWIN "data: {name: cifar11}\n",
         "'data.name' cannot be 'cifar11'; allowed: cifar10, cifar100, shapes, folder\n"
         "did you mean 'cifar10'?"},
        {SWIN "data: {name: 10}\n",
         "'data.name' needs one of cifar10, cifar100, shapes, folder, not the"},
        {SWIN "optim: {no_decay: [bias, gain]}\n",
         "'optim.no_decay' cannot be 'gain'; allowed: bias"},
        {SWIN "optim: {no_decay: {bias: 1}}\n",
         "'optim.no_decay' needs a list of words, not a map"},
        {SWIN "data: {train: flip}\n",
         "'data.train' needs a list of transforms, not the text 'flip'"},
        {SWIN "data: {train: [flop: 1]}\n",
         "has 'flop' where a transform is needed\ndid you mean 'flip'?"},
        {SWIN "data: {train: [random_crop: 4]}\n", "random_crop needs {pad: N} and nothing else"},
        {SWIN "data: {train: [random_crop: {pad: 4, size: 3}]}\n", "needs {pad: N} and nothing"},
        {SWIN "data: {train: [resize: 0]}\n", "'data.train' is 0; allowed: from 1 to 4096"},
        {SWIN "data: {train: [resize: [1, 2, 3]]}\n",
         "'data.train': resize needs the short side, or [height, width]"},
        {SWIN "data: {train: [center_crop: {size: 3}]}\n",
         "'data.train': center_crop needs a side, or [height, width]"},
        {SWIN "data: {train: [random_resized_crop: {scale: [0.1, 1]}]}\n",
         "'data.train': random_resized_crop needs {size: N}"},
        {SWIN "data: {train: [random_resized_crop: {size: 32, area: 1}]}\n",
         "'data.train': random_resized_crop needs {size: N}"},
        {SWIN "data: {train: [random_resized_crop: {size: 32, scale: 0.5}]}\n",
         "'data.train': random_resized_crop needs {size: N}"},
        {SWIN "data: {train: [random_resized_crop: {size: 32, scale: [0.5, 0.1]}]}\n",
         "'data.train': random_resized_crop: 0.5 is above 0.1"},
        {SWIN "data: {train: [random_resized_crop: {size: 32, scale: [0, 0.1]}]}\n",
         "'data.train' is 0; allowed: greater than 0"},
        {SWIN "data: {train: [flip: 1.5]}\n", "'data.train' is 1.5; allowed: from 0 to 1"},
        {SWIN "data: {train: [flip: 0, flip: 0, flip: 0, flip: 0, flip: 0, flip: 0, flip: 0, "
              "flip: 0, flip: 0]}\n",
         "'data.train' has 9 entries; allowed: at most 8"},
        {SWIN "data: {normalise: imagenette}\n", "'data.normalise' needs half, cifar10,"},
        {SWIN "data: {normalise: {mean: [0, 0, 0]}}\n", "or {mean: [..], std: [..]}, not a map"},
        {SWIN "data: {normalise: {mean: [0, 0], std: [1, 1, 1]}}\n",
         "'data.normalise' needs 3 numbers, one a channel, not 2"},
        {SWIN "data: {normalise: {mean: [0, 0, 0], std: [1, 1, 0]}}\n",
         "'data.normalise' is 0; allowed: from 0.0001 to 1000"},
        {SWIN "checkpoint: {every: 5}\n", "needs a distance such as '1 epoch' or '50 steps', not"},
        {SWIN "checkpoint: {every: 0 steps}\n", "'checkpoint.every' is 0; allowed: from 1 to"},
        {SWIN "checkpoint: {every: 5 hours}\n", "needs a distance such as '1 epoch'"},
        {SWIN "attention: {images: 1, epochs: [2, 2]}\n",
         "'attention.epochs' must ascend: 2 follows 2"},
        {SWIN "attention: {images: 1, epochs: first}\n", "needs last, all or a list of epochs"},
        {SWIN "seed: -1\n", "'seed' is -1; allowed: from 0 to 18446744073709551615"},
        {SWIN "seed: 18446744073709551616\n", "'seed' is 18446744073709551616; allowed: from 0"},
        /* keys without effect */
        {SWIN "optim: {name: adam, momentum: 0.9}\n",
         "'optim.momentum' has no effect with optim.name: adam\nit belongs to optim.name: sgd; "
         "optim.name is set at"},
        {SWIN "optim: {momentum: 0.9}\n", "'optim.momentum' has no effect with optim.name: adamw"},
        {SWIN "optim: {name: sgd, betas: [0.9, 0.99]}\n",
         "'optim.betas' has no effect with optim.name: sgd\nit belongs to optim.name: adam, adamw"},
        {SWIN "schedule: {milestones: [1]}\n",
         "'schedule.milestones' has no effect with schedule.name: constant"},
        {VIT "schedule: {name: cosine, gamma: 0.1}\n", "'schedule.gamma' has no effect with"},
        {"model: {preset: vit_ti_p4, window: 7}\n",
         "'model.window' has no effect with model.family: vit"},
        {"model: {preset: swin_t, depth: 7}\n",
         "'model.depth' has no effect with model.family: swin"},
        /* the arithmetic between keys */
        {"model: {family: vit, patch: 4, dim: 190, depth: 1, heads: 3}\n",
         "model.dim 190 is not divisible by model.heads 3: 190 = 3 * 63 + 1\nmodel.dim: "},
        {"model: {preset: vit_ti_p4, heads: [3, 3]}\n", "model.heads has 2 entries; vit has one"},
        {"model: {preset: swin_cifar, heads: [3, 6, 10]}\n",
         "stage 3: model.dim 192 * 2^2 = 768 is not divisible by 10 heads: 768 = 10 * 76 + 8\n"
         "model.dim: preset swin_cifar"},
        {"model: {preset: swin_cifar, heads: [3, 6]}\n",
         "model.depths has 3 entries and model.heads has 2; both need one a stage"},
        {"model: {preset: swin_cifar, depths: []}\n", "model.depths is empty"},
        {"model: {preset: swin_t, patch: 8}\n",
         "stage 3 has a map of 1 x 1, which cannot be merged: 32 pixels / patch 8 = 4, halved 2 "
         "times; leave out 1 of the 4 stages"},
        {"model: {preset: vit_ti_p4, patch: 33}\n",
         "model.patch is 33, larger than the image of 32"},
        {"model: {preset: vit_ti_p4, image: 224}\n",
         "model.image is 224, and the images of shapes are 32 x 32; they are not resized"},
        {"model: {preset: vit_ti_p4, image: 64}\ndata: {train: [resize: [48, 64]]}\n",
         "model.image is 64, and the images of shapes become 48 x 64 (data.train)"},
        {"model: {preset: vit_ti_p4, image: 64}\ndata: {train: [resize: 64]}\n",
         "model.image is 64, and the images of shapes are 32 x 32; they are not resized\n"
         "model.image: "},
        {"model: {preset: vit_ti_p4, image: 64, classes: 5}\n"
         "data: {name: folder, train: [random_resized_crop: {size: 64}], test: [resize: 64]}\n",
         "data.test does not bring the pictures of a folder to one size, and model.image is 64; "
         "it needs resize: [64, 64], center_crop: 64 or random_resized_crop: {size: 64}"},
        {"model: {preset: vit_ti_p4, image: 64, classes: 5}\n"
         "data: {name: folder, train: [center_crop: 60], test: [center_crop: 64]}\n",
         "model.image is 64, and the images of folder become 60 x 60 (data.train)"},
        {"model: {preset: vit_ti_p4, image: 64}\ndata: {name: folder, train: [resize: [64, 64]], "
         "test: [resize: [64, 64]]}\n",
         "'model.classes' is needed"},
        {"model: {preset: vit_ti_p4}\ndata: {name: cifar10, labels: coarse}\n",
         "'data.labels' has no effect with data.name: cifar10"},
        {"model: {preset: vit_ti_p4, classes: 19}\ndata: {name: cifar100, labels: coarse}\n",
         "model.classes is 19, and the labels of cifar100 go from 0 to 19: at least 20"},
        {"model: {preset: vit_ti_p4, channels: 1}\n",
         "model.channels is 1, and the images of shapes "
         "have 3"},
        {"model: {preset: vit_ti_p4, classes: 10}\ndata: {name: cifar100}\n",
         "model.classes is 10, and the labels of cifar100 go from 0 to 99: at least 100"},
        {"model: {preset: swin_t, pool: token}\n",
         "model.pool is token, and swin has no class token"},
        {"model: {preset: vit_ti_p4, pos_embed: sincos, dim: 6, heads: 2}\n",
         "which needs model.dim divisible by 4 (sine and cosine for rows and columns): 6 = 4 * 1 + "
         "2"},
        {"model: {preset: vit_ti_p4, dim: 3, mlp_ratio: 0.3}\n", "3 * model.mlp_ratio 0.3 = 0.9"},
        {SWIN "data: {limit_train: 10001}\n",
         "data.limit_train is 10001, and shapes has 10000 - 0 (data.val) = 10000 training images"},
        {SWIN "data: {limit_test: 2001}\n", "data.limit_test is 2001, and shapes has 2000 test"},
        {SWIN "data: {val: 10000}\n", "data.val 10000 leaves no training image: shapes has 10000"},
        {SWIN "data: {limit_train: 50, drop_last: true}\n",
         "data.drop_last leaves no batch: 50 training images / batch of 64 = 0"},
        {SWIN "data: {limit_test: 50}\neval: {compat: article}\n",
         "eval.compat: article drops the last batch and leaves none: 50 test images"},
        {SWIN "attention: {images: 10}\ndata: {limit_test: 5}\n",
         "attention.images is 10, and there are 5 test images"},
        {SWIN "attention: {images: 1, epochs: [11]}\n", "names epoch 11, and train.epochs is 10"},
        {SWIN "data: {train: [random_crop: {pad: 32}]}\n",
         "pads by 32 pixels, and the image has 32"},
        {SWIN "data: {train: [center_crop: 8, random_crop: {pad: 8}, center_crop: 32]}\n",
         "pads by 8 pixels, and the image has 8"},
        {SWIN "train: {select: val}\n", "train.select is val, and data.val is 0"},
        {SWIN "schedule: {name: cosine, warmup_epochs: 10}\n",
         "schedule.warmup_epochs is 10, and train.epochs is 10: nothing is left"},
        {SWIN "schedule: {warmup_epochs: 1, warmup_from: 1}\n",
         "schedule.warmup_from 1 is above optim.lr 0.001"},
        {SWIN "schedule: {name: cosine, min_lr: 1}\n", "schedule.min_lr 1 is above optim.lr 0.001"},
        {SWIN "schedule: {name: multistep}\n", "'schedule.milestones' is needed"},
        {SWIN "schedule: {name: multistep, milestones: []}\n", "schedule.milestones is empty"},
        {SWIN "schedule: {name: multistep, milestones: [3, 2]}\n",
         "schedule.milestones must ascend: 2 follows 3"},
        {SWIN "optim: {betas: [0.9]}\n", "optim.betas has 1 entries; it needs 2"},
        {SWIN "optim: {name: sgd, momentum: 0, nesterov: true}\n",
         "optim.nesterov needs optim.momentum above 0, not 0"},
        /* YAML itself */
        {"model:\n\tpreset: swin_t\n",
         "bad.yaml:2:1: error: a tab cannot indent a line in YAML\nindent with spaces"},
        {"model: {preset: swin_t\n", "bad.yaml:2:1: error: did not find expected ',' or '}'"},
        {"model: [preset: swin_t}\n", "bad.yaml:1:23: error: did not find expected"},
        {"model: &m {preset: swin_t}\n", "anchors are not used in experiment files ('&m')"},
        {"model: *m\n", "aliases are not used in experiment files ('*m')\nuse `extends`"},
        {"model: !!map {preset: swin_t}\n", "tags are not used in experiment files"},
        {"model: {preset: !!str swin_t}\n", "tags are not used in experiment files"},
        {SWIN "---\n" VIT, "a second document begins here"},
        {"- a\n", "an experiment file holds `key: value` lines, not a list"},
        {"word\n", "an experiment file holds `key: value` lines, not a single text"},
        {"? [a]\n: b\n", "a key is a word, not a list"},
        {"model: {preset: \"swin\\0_t\"}\n", "a text cannot hold a NUL character"},
        {"model: {preset: swin_t}\nb\xc3\xa4t: \xff\n",
         "bad.yaml:2:6: error: byte 0xff at offset 30 is not valid UTF-8"},
        {"model: \x01\n", "bad.yaml:1:8: error: control character 0x01 at offset 7"},
        {"\xc0\xaf: 1\n", "byte 0xc0 at offset 0 is not valid UTF-8"},
        {"\xed\xa0\x80: 1\n", "byte 0xed at offset 0 is not valid UTF-8"},
        {"extends: {a: b}\n", "'extends' needs a file or a list of files"},
        {"extends: [7]\n", "'extends' needs a file or a list of files"},
        {"extends: bad.yaml\n", "'extends' comes back to '"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_text(cases[i].text, cases[i].messages);
}

static void test_sets(void **state)
{
    (void)state;
    static const struct {
        const char *set, *messages;
    } cases[] = {
        {"optim.lr", "--set[2]:1: error: an override is key=value, such as optim.lr=1e-3"},
        {"=3", "--set[2]:1: error: an override is key=value"},
        {"", "--set[2]:1: error: an override is key=value"},
        {"optim.lr=x", "--set[2]:10: error: 'optim.lr' needs a number from 0 to 100\n"
                       "      | optim.lr=x\n      |          ^\n"},
        {"optim.lr=", "'optim.lr' has no value"},
        {"optim.lrr=1", "--set[2]:1: error: unknown key 'lrr' in 'optim'\ndid you mean 'lr'?"},
        {"lr=1", "--set[2]:1: error: unknown key 'lr'\ndid you mean 'optim.lr'?"},
        {"optim.betas.0=1", "unknown key 'betas.0' in 'optim'"},
        {"optimm.lr=1", "unknown key 'optimm.lr'"},
        {"extends=a.yaml", "'extends' belongs in a file"},
        {"optim=3", "'optim' holds keys and values, not the integer 3"},
        {"optim={lr: 3", "--set[2]:13: error: did not find expected ',' or '}'"},
        {"optim={lr: 1, lr: 2}", "--set[2]:15: error: duplicate key 'lr'\n"
                                 "first given at --set[2]:8"},
        {"model.heads=[3, 6, &a 12]", "anchors are not used"},
        {"train.batch=0", "'train.batch' is 0; allowed: from 1 to 65536"},
    };
    write_bytes(bad_path, SWIN, strlen(SWIN));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *const sets[] = {"train.epochs=3", cases[i].set};
        expect(bad_path, sets, 2, VT_ERR_CONFIG, cases[i].messages);
    }
}

static void test_missing(void **state)
{
    (void)state;
    vt_diagnostics diags = {0};
    char path[200];
    expect("/nowhere/at/all.yaml", NULL, 0, VT_ERR_NOINPUT,
           "cannot open '/nowhere/at/all.yaml': No such file");
    expect(folder, NULL, 0, VT_ERR_NOINPUT, "is a folder, not a file");
    snprintf(path, sizeof path, "%s/pipe.yaml", folder);
    assert_int_equal(mkfifo(path, 0600), 0);
    expect(path, NULL, 0, VT_ERR_NOINPUT, "is a device, pipe or socket, not a file");
    const char *text = SWIN "extends: [other.yaml]\n";
    write_bytes(bad_path, text, strlen(text));
    expect(bad_path, NULL, 0, VT_ERR_NOINPUT, "bad.yaml:2:11: error: cannot open '\nother.yaml'");
    snprintf(path, sizeof path, "%s/a b.yaml", folder);
    write_bytes(path, SWIN, strlen(SWIN));
    expect(path, NULL, 0, VT_ERR_USAGE, "'a b' cannot name an experiment");
    snprintf(path, sizeof path, "%s/.yaml", folder);
    write_bytes(path, SWIN, strlen(SWIN));
    expect(path, NULL, 0, VT_ERR_USAGE, "cannot name an experiment");
    assert_int_equal(vt_config_find("quick/vti", path, sizeof path, &diags), VT_ERR_NOINPUT);
    assert_non_null(strstr(diags.text.data, "did you mean 'quick/vit'?"));
    assert_non_null(strstr(diags.text.data, "quickstart"));
    vt_diagnostics_release(&diags);
    assert_int_equal(vt_config_find("a\nb", path, sizeof path, &diags), VT_ERR_USAGE);
    vt_diagnostics_release(&diags);
}

static void test_extends_limits(void **state)
{
    (void)state;
    char path[200], text[200];
    /* a.yaml -> b.yaml -> a.yaml */
    snprintf(path, sizeof path, "%s/b.yaml", folder);
    write_bytes(path, "extends: a.yaml\n", 16);
    snprintf(path, sizeof path, "%s/a.yaml", folder);
    write_bytes(path, "extends: b.yaml\n", 16);
    expect(path, NULL, 0, VT_ERR_CONFIG,
           "b.yaml:1:10: error: 'extends' comes back to '\na.yaml <- \nb.yaml <- ");
    /* a chain of 70 files */
    for (int i = 0; i < 70; i++) {
        snprintf(path, sizeof path, "%s/chain%d.yaml", folder, i);
        int n = snprintf(text, sizeof text, "extends: chain%d.yaml\n", i + 1);
        write_bytes(path, text, (size_t)n);
    }
    snprintf(path, sizeof path, "%s/chain0.yaml", folder);
    expect(path, NULL, 0, VT_ERR_CONFIG, "more than 64 files by 'extends'");
}

static void test_many_errors(void **state)
{
    (void)state;
    char text[2000] = SWIN "optim:\n";
    for (int i = 0; i < 25; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "  nonsense%d: 1\n", i);
    write_bytes(bad_path, text, strlen(text));
    vt_diagnostics diags = {0};
    vt_config *config;
    assert_int_equal(vt_config_load(&config, bad_path, NULL, 0, NULL, &diags), VT_ERR_CONFIG);
    assert_int_equal(diags.n_errors, 25);
    assert_non_null(strstr(diags.text.data, "nonsense19"));
    assert_null(strstr(diags.text.data, "nonsense20"));
    assert_non_null(strstr(diags.text.data, "5 more errors are not shown\n"));
    vt_diagnostics_release(&diags);
}

static void test_colors(void **state)
{
    (void)state;
    write_bytes(bad_path, "modle: 1\n", 9);
    vt_diagnostics diags = {.color = true};
    vt_config *config;
    assert_int_equal(vt_config_load(&config, bad_path, NULL, 0, NULL, &diags), VT_ERR_CONFIG);
    assert_non_null(strstr(diags.text.data, ": \033[1;31merror:\033[0m unknown key 'modle'\n"));
    vt_diagnostics_release(&diags);
}

/* Files at and beyond the limits of size, depth, events and keys. */
static void test_yaml_limits(void **state)
{
    (void)state;
    enum { BIG = (1 << 20) + 1 };
    char *big = calloc(BIG + 1, 1);
    assert_non_null(big);
    /* exactly 1 MiB of comment loads; one byte more does not */
    memset(big, 'x', BIG);
    memcpy(big, SWIN "#", strlen(SWIN) + 1);
    write_bytes(bad_path, big, BIG - 1);
    expect(bad_path, NULL, 0, VT_OK, "");
    write_bytes(bad_path, big, BIG);
    expect(bad_path, NULL, 0, VT_ERR_CONFIG, "has 1048577 bytes; an experiment file has at most");
    /* depth: the map of the file, the map of data and 30 lists are 32 levels with the scalar below
     */
    for (int depth = 29; depth <= 40; depth++) {
        size_t n = (size_t)sprintf(big, "data: {train: ");
        memset(big + n, '[', (size_t)depth);
        memset(big + n + depth, ']', (size_t)depth);
        sprintf(big + n + 2 * (size_t)depth, "}\n");
        expect_text(big,
                    depth <= 30 ? "where a transform is needed" : "nested deeper than 32 levels");
    }
    memset(big, '[', BIG - 2);
    big[BIG - 2] = '\0';
    expect_text(big, "nested deeper than 32 levels");
    memset(big, '{', BIG - 2);
    expect_text(big, "nested deeper than 32 levels");
    for (int i = 0; i + 2 < BIG - 1; i += 2)
        memcpy(big + i, "- ", 2);
    expect_text(big, "nested deeper than 32 levels");
    /* events */
    size_t n = (size_t)sprintf(big, "train: {freeze: [");
    for (int i = 0; i < 100000; i++)
        n += (size_t)sprintf(big + n, "a,");
    sprintf(big + n, "]}\n");
    expect_text(big, "more than 100000 YAML events");
    /* keys: 257 in one map */
    n = 0;
    for (int i = 0; i < 300; i++)
        n += (size_t)sprintf(big + n, "k%d: 1\n", i);
    expect_text(big, "bad.yaml:257:1: error: more than 256 keys in one map");
    /* ten thousand lines are no obstacle */
    n = (size_t)sprintf(big, SWIN "train:\n  freeze:\n");
    for (int i = 0; i < 10000; i++)
        n += (size_t)sprintf(big + n, "    - name%d\n", i);
    expect_text(big, "'train.freeze' has 10000 entries; allowed: at most 16");
    /* a NUL byte, a byte order mark, line ends of other systems, one very long line */
    write_bytes(bad_path, "model: {\0}", 10);
    expect(bad_path, NULL, 0, VT_ERR_CONFIG,
           "1:9: error: control character 0x00 at offset 8 (NUL)");
    const char *marked = "\xef\xbb\xbf" SWIN;
    write_bytes(bad_path, marked, strlen(marked));
    expect(bad_path, NULL, 0, VT_OK, "");
    const char *dos = "model:\r\n  preset: swin_cifar\r\n";
    write_bytes(bad_path, dos, strlen(dos));
    expect(bad_path, NULL, 0, VT_OK, "");
    n = (size_t)sprintf(big, "data: {dir: ");
    memset(big + n, 'a', 5000);
    sprintf(big + n + 5000, ", nme: \xc3\xa4}\n" SWIN);
    expect_text(big, "bad.yaml:1:5015: error: unknown key 'nme' in 'data'\na, nme: \xc3\xa4}\n"
                     "'data.dir' is a text of 5000 bytes");
    free(big);
}

/* Loads the sample's experiment with the key at `value`; "" if it loads, else the message. */
static void try_value(const config_sample *sample, const char *value, char *message, size_t size)
{
    char path[100];
    sample_sets sets;
    vt_diagnostics diags = {0};
    vt_config *config;
    snprintf(path, sizeof path, "experiments/%s.yaml", sample->experiment);
    fill_sample_sets(&sets, sample, value);
    vt_status status = vt_config_load(&config, path, sets.set, sets.n, NULL, &diags);
    assert_true(status == VT_OK || status == VT_ERR_CONFIG);
    snprintf(message, size, "%s", diags.text.data ? diags.text.data : "");
    assert_true((status == VT_OK) == (*message == '\0'));
    vt_config_free(config);
    vt_diagnostics_release(&diags);
}

/* The value must be refused (or not) for its size; other keys may object to a legal size. */
static void check_range(const config_sample *sample, const char *value, bool legal)
{
    char message[4000], refused[200];
    snprintf(refused, sizeof refused, "'%s' is %s; allowed: ", sample->path, value);
    try_value(sample, value, message, sizeof message);
    if (legal == !!strstr(message, refused))
        fail_msg("%s=%s should be %s:\n%s", sample->path, value, legal ? "legal" : "refused",
                 message);
}

static void check_integer(const config_sample *sample, const vt_field *field)
{
    static const char *const huge[] = {"2147483648",           "4294967296",
                                       "9223372036854775807",  "9223372036854775808",
                                       "18446744073709551616", "-9223372036854775809"};
    char text[40];
    for (int64_t d = -1; d <= 1; d++) {
        snprintf(text, sizeof text, "%" PRId64, field->int_min + d);
        check_range(sample, text, d >= 0);
        snprintf(text, sizeof text, "%" PRId64, field->int_max + d);
        check_range(sample, text, d <= 0);
    }
    for (size_t i = 0; i < sizeof huge / sizeof *huge; i++)
        check_range(sample, huge[i], false);
    check_range(sample, "0", field->int_min <= 0);
    check_range(sample, "-0", field->int_min <= 0);
}

static void check_float(const config_sample *sample, const vt_field *field)
{
    static const char *const odd[] = {".nan", ".inf", "-.inf", "1e308", "1e999", "-5e-324"};
    char text[60];
    const struct {
        double value;
        bool legal;
    } edges[] = {
        {field->min, !field->open_min},           {nextafter(field->min, -INFINITY), false},
        {nextafter(field->min, INFINITY), true},  {field->max, !field->open_max},
        {nextafter(field->max, INFINITY), false}, {nextafter(field->max, -INFINITY), true},
    };
    for (size_t i = 0; i < sizeof edges / sizeof *edges; i++) {
        snprintf(text, sizeof text, "%.17g", edges[i].value);
        check_range(sample, text, edges[i].legal);
    }
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++)
        check_range(sample, odd[i], false);
    check_range(sample, "-0.0", field->min <= 0 && !field->open_min);
}

static void test_limits(void **state)
{
    (void)state;
    int n_numbers = 0;
    for (int i = 0; i < N_CONFIG_SAMPLES; i++) {
        const config_sample *sample = &config_samples[i];
        const vt_field *field = &vt_fields[vt_field_find(sample->path, strlen(sample->path))];
        if (field->kind == VT_KIND_INT || field->kind == VT_KIND_INTS)
            check_integer(sample, field);
        else if (field->kind == VT_KIND_FLOAT || field->kind == VT_KIND_FLOATS)
            check_float(sample, field);
        else
            continue;
        n_numbers++;
    }
    assert_true(n_numbers > 40);
}

/* Values that no key of a kind takes. */
static void test_types(void **state)
{
    (void)state;
    static const char *const values[] = {"\"x y\"", "{a: 1}", "[[1]]",      "no", "1.5", "7",
                                         "true",    "[1, x]", "2026-01-31", "[]", "{}",  "0x"};
    char message[4000];
    for (int i = 0; i < N_CONFIG_SAMPLES; i++) {
        const config_sample *sample = &config_samples[i];
        const vt_field *field = &vt_fields[vt_field_find(sample->path, strlen(sample->path))];
        for (size_t v = 0; v < sizeof values / sizeof *values; v++) {
            const char *value = values[v];
            try_value(sample, value, message, sizeof message);
            bool scalar = field->kind <= VT_KIND_CHOICE;
            bool must_fail = false;
            if (scalar && (value[0] == '{' || value[0] == '['))
                must_fail = true;
            if (field->kind == VT_KIND_BOOL && strcmp(value, "true") != 0)
                must_fail = true;
            if (strcmp(value, "1.5") == 0 && field->kind != VT_KIND_FLOAT &&
                field->kind != VT_KIND_FLOATS)
                must_fail = true;
            if (strcmp(value, "[1, x]") == 0 && field->kind != VT_KIND_TEXTS)
                must_fail = true;
            if (must_fail && !strstr(message, field->path))
                fail_msg("%s=%s is not refused by name:\n%s", field->path, value, message);
        }
        try_value(sample, "", message, sizeof message);
        assert_non_null(strstr(message, "has no value"));
    }
}

/* Damaged files load or are refused; nothing else. */
static void test_damage(void **state)
{
    (void)state;
    static const char good[] =
        "# a comment\nextends: []\nseed: 5\nmodel:\n  preset: swin_cifar\n  heads: [3, 6, 12]\n"
        "data: {name: cifar10, train: [random_crop: {pad: 4}, flip: 0.5], val: 500,\n"
        "  normalise: {mean: [0.5, 0.4, 0.3], std: [0.1, 0.2, 0.3]}}\n"
        "optim: {name: 'sgd', lr: 1e-3, momentum: 0.9}\nschedule:\n  name: multistep\n"
        "  milestones: [1, 2]\ntrain: {freeze: [\"a*\", b], batch: 0x10}\n"
        "checkpoint: {every: 5 steps}\nattention: {images: 2, epochs: [1, 2]}\n";
    static const char pieces[] = "{}[]:,-#&*!|>'\"%@`\n\t ?~0e.\\\xc3\xff";
    const vt_rng rng = vt_rng_at(1, VT_STREAM_TEST, 0, 0, 0);
    int n_good = 0, n_bad = 0;
    for (uint64_t round = 0; round < 2000; round++) {
        char text[sizeof good + 8];
        size_t size = sizeof good - 1;
        memcpy(text, good, sizeof good);
        uint64_t changes = 1 + vt_rng_below(&rng, round * 16, 3);
        for (uint64_t c = 0; c < changes; c++) {
            uint64_t draw = round * 16 + 1 + 3 * c;
            size_t at = (size_t)vt_rng_below(&rng, draw, size);
            switch (vt_rng_below(&rng, draw + 1, 3)) {
            case 0:
                text[at] = pieces[vt_rng_below(&rng, draw + 2, sizeof pieces - 1)];
                break;
            case 1:
                memmove(text + at, text + at + 1, size - at);
                size--;
                break;
            default:
                memmove(text + at + 1, text + at, size - at + 1);
                text[at] = pieces[vt_rng_below(&rng, draw + 2, sizeof pieces - 1)];
                size++;
                break;
            }
        }
        write_bytes(bad_path, text, size);
        vt_diagnostics diags = {0};
        vt_config *config;
        vt_status status = vt_config_load(&config, bad_path, NULL, 0, NULL, &diags);
        assert_true(status == VT_OK || status == VT_ERR_CONFIG || status == VT_ERR_NOINPUT);
        assert_true((status == VT_OK) == (diags.n_errors == 0));
        n_good += status == VT_OK;
        n_bad += status != VT_OK;
        vt_config_free(config);
        vt_diagnostics_release(&diags);
    }
    assert_true(n_good > 20 && n_bad > 100);
}

int main(void)
{
#define CASE(sentence, function)                                                                   \
    {                                                                                              \
        sentence, function, NULL, NULL, NULL                                                       \
    }
    const struct CMUnitTest tests[] = {
        CASE("a bad file is refused with place, reason and advice", test_files),
        CASE("a bad override is refused with its number and column", test_sets),
        CASE("a missing or unreadable file is an error of its own", test_missing),
        CASE("extends neither turns in circles nor goes on for ever", test_extends_limits),
        CASE("twenty errors are shown and the rest is counted", test_many_errors),
        CASE("errors are coloured where that is asked for", test_colors),
        CASE("size, depth, events and keys of a file have limits", test_yaml_limits),
        CASE("every number is refused just outside its limits and accepted at them", test_limits),
        CASE("values of another kind are refused by name", test_types),
        CASE("a damaged file loads or is refused", test_damage),
    };
    return cmocka_run_group_tests_name("config input", tests, set_up, tear_down);
}
