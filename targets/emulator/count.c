/* A TCG plugin that counts the instructions that a guest executes, by class, between two marks.
 *
 * A mark is the system call MARK_CALL with FIRST or LAST as its argument: it asks the kernel for the limits of a
 * scheduling policy that does not exist, and changes nothing. Each block of code adds up its classes by inline adds when
 * it is executed. At each last mark a line goes to the file given as `out`: the counts since the first mark, in the
 * order of the classes. Adds are not atomic, so a guest is to compute in one thread.
 *
 * QEMU's plugin interface is declared here as far as it is used (docs/devel/tcg-plugins, version 1 of the interface):
 * distributions do not package its header.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum qemu_plugin_op { QEMU_PLUGIN_INLINE_ADD_U64 };
typedef void (*tb_translated_t)(qemu_plugin_id_t id, struct qemu_plugin_tb *tb);
typedef void (*syscall_t)(qemu_plugin_id_t id, unsigned int vcpu, int64_t number, uint64_t a1, uint64_t a2, uint64_t a3,
                          uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8);

void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id, tb_translated_t callback);
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *tb, enum qemu_plugin_op op, void *target,
                                              uint64_t added);
void qemu_plugin_register_vcpu_syscall_cb(qemu_plugin_id_t id, syscall_t callback);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t index);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *insn);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *insn);

EXPORT int qemu_plugin_version = 1;

static const struct {
    uint32_t mask, value, class;
} patterns[] = {
#include "classes.h"
};

static uint64_t counted[CLASSES];
static uint64_t before[CLASSES];
static FILE *out;

static unsigned int class_of(uint32_t word)
{
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++)
        if ((word & patterns[i].mask) == patterns[i].value)
            return patterns[i].class;
    return SCALAR;
}

static void on_translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
    uint64_t here[CLASSES] = {0};
    (void)id;
    for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
        const struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
        const unsigned char *bytes = qemu_plugin_insn_data(insn);
        if (qemu_plugin_insn_size(insn) == 4) /* A64 is little endian, whatever the host */
            here[class_of(bytes[0] | bytes[1] << 8 | bytes[2] << 16 | (uint32_t)bytes[3] << 24)]++;
    }
    for (size_t class = 0; class < CLASSES; class++)
        if (here[class])
            qemu_plugin_register_vcpu_tb_exec_inline(tb, QEMU_PLUGIN_INLINE_ADD_U64, &counted[class], here[class]);
}

static void on_syscall(qemu_plugin_id_t id, unsigned int vcpu, int64_t number, uint64_t a1, uint64_t a2, uint64_t a3,
                       uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8)
{
    (void)id, (void)vcpu, (void)a2, (void)a3, (void)a4, (void)a5, (void)a6, (void)a7, (void)a8;
    if (number != MARK_CALL)
        return;
    if ((uint32_t)a1 == FIRST)
        memcpy(before, counted, sizeof before);
    if ((uint32_t)a1 != LAST)
        return;
    for (size_t class = 0; class < CLASSES; class++)
        fprintf(out, "%" PRIu64 "%c", counted[class] - before[class], class + 1 < CLASSES ? ' ' : '\n');
    fflush(out);
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc, char **argv)
{
    (void)info;
    if (argc != 1 || strncmp(argv[0], "out=", 4) != 0 || (out = fopen(argv[0] + 4, "w")) == NULL)
        return -1;
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translated);
    qemu_plugin_register_vcpu_syscall_cb(id, on_syscall);
    return 0;
}
