// SPDX-License-Identifier: LGPL-2.1-or-later
// LIBEXEC/placeholder [--fork] PATH ARGUMENT...
//
// systemd starts it inside a unit's sandbox, where the restored processes are to live. It waits for the
// restorer's word: SIGUSR2, they live, and it ends; SIGUSR1, they do not, and it becomes the program that the
// unit names.
//
// It is bare machine code without a C library, so that no sandbox is too strict for it: beside execve and
// exit_group, which systemd always allows, it makes two system calls, which every program with a signal
// handler needs.
//
// With --fork a child of it does all that, so that systemd holds no process for the main one: for a unit of which
// it does not know any. Such a unit's command forks too.
//
// It has no time limit of its own. The restorer is the unit's control process: when that dies without a word,
// systemd sees it, fails the start and kills the placeholder; when it hangs, TimeoutStartSec= does the same.
// A placeholder that went on by itself could meet processes that a slow restorer has just brought back.
#include <cstdint>

namespace {

constexpr long kWrite = 1, kSigprocmask = 14, kClone = 56, kExecve = 59, kSigtimedwait = 128, kExitGroup = 231;
constexpr long kInterrupted = -4;             // EINTR
constexpr long kSetMask = 2;                  // SIG_SETMASK
constexpr int kBecome = 10, kDismissed = 12;  // SIGUSR1, SIGUSR2
// Only blocked, for the restorer to see that we listen: while a task waits for signals, /proc does not show
// these as blocked.
constexpr int kListening = 16;  // SIGSTKFLT, which Linux never sends
constexpr int kSigchld = 17;
constexpr int kExitExec = 203;  // as systemd says it

long call(long number, long a = 0, long b = 0, long c = 0, long d = 0) {
  long result;
  register long fourth __asm__("r10") = d;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(a), "S"(b), "d"(c), "r"(fourth)
                   : "rcx", "r11", "memory");
  return result;
}

template <class T>
long address(T* pointer) {
  return reinterpret_cast<long>(pointer);
}

constexpr uint64_t bit(int signal) { return uint64_t{1} << (signal - 1); }

}  // namespace

extern "C" [[noreturn, gnu::used]] void placeholder(long* stack) {
  long count = stack[0];
  char** arguments = reinterpret_cast<char**>(stack + 1);
  char** environment = arguments + count + 1;
  bool forks = count > 1 && arguments[1][0] == '-';  // a path is absolute
  if (forks) {
    ++arguments;
    --count;
  }

  const uint64_t awaited = bit(kBecome) | bit(kDismissed);
  const uint64_t blocked = awaited | bit(kListening);
  uint64_t original = 0;
  call(kSigprocmask, 0 /* SIG_BLOCK */, address(&blocked), address(&original), sizeof blocked);
  if (forks)
    if (long child = call(kClone, kSigchld)) call(kExitGroup, child < 0 ? kExitExec : 0);
  long signal;
  do signal = call(kSigtimedwait, address(&awaited), 0, 0, sizeof awaited);
  while (signal == kInterrupted);
  if (signal == kDismissed) call(kExitGroup, 0);

  // Also where waiting is not allowed: a service that starts afresh is better than none.
  call(kSigprocmask, kSetMask, address(&original), 0, sizeof original);
  if (count > 2) call(kExecve, address(arguments[1]), address(arguments + 2), address(environment));
  constexpr char kText[] = "kernel-swap: the unit's command cannot be executed\n";
  call(kWrite, 2, address(kText), sizeof kText - 1);
  for (;;) call(kExitGroup, kExitExec);
}

__asm__(
    ".globl _start\n"
    "_start:\n"
    "  xor %ebp, %ebp\n"
    "  mov %rsp, %rdi\n"
    "  and $-16, %rsp\n"
    "  call placeholder\n");
