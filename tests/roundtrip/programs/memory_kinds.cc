// SPDX-License-Identifier: LGPL-2.1-or-later
// Memory with a character of its own, by argument: sealed, droppable, merged, locked in the future, written and then
// executed, or past the end of its file.
#include <setjmp.h>
#include <sys/prctl.h>

#include "program.h"

static sigjmp_buf trap;
static int signal_at(volatile char* at) {
  int got = sigsetjmp(trap, 1);
  if (got == 0) *at = *at;
  return got;
}
static void catch_signals() {
  for (int number : {SIGBUS, SIGSEGV}) signal(number, [](int caught) { siglongjmp(trap, caught); });
}

static void sealed() {
  char* at = map_memory(3 * kPage);
  for (size_t i = 0; i < 3; ++i) fill_page(at + i * kPage, i);
  CHECK(mprotect(at, kPage, PROT_READ) == 0);
  if (syscall(462, at, 2 * kPage, 0)) skip("this kernel has no mseal");
  ready();
  for (size_t i = 0; i < 3; ++i) CHECK(page_is(at + i * kPage, i));
  fill_page(at + kPage, 7);
  CHECK(munmap(at, kPage) < 0 && errno == EPERM);
  CHECK(mprotect(at + kPage, kPage, PROT_READ) < 0 && errno == EPERM);
  CHECK(mprotect(at, kPage, PROT_READ | PROT_WRITE) < 0 && errno == EPERM);
  CHECK(munmap(at + 2 * kPage, kPage) == 0);
}

static void droppable() {
  void* got = mmap(nullptr, 4 * kPage, PROT_READ | PROT_WRITE, 0x08 | MAP_ANONYMOUS, -1, 0);
  if (got == MAP_FAILED) skip("this kernel has no MAP_DROPPABLE");
  auto* at = static_cast<char*>(got);
  for (size_t i = 0; i < 3; ++i) fill_page(at + i * kPage, i);
  ready();
  for (size_t i = 0; i < 3; ++i) CHECK(page_is(at + i * kPage, i) || page_is_zero(at + i * kPage));
  CHECK(page_is_zero(at + 3 * kPage));
  fill_page(at + 3 * kPage, 4);
  pid_t child = fork();
  if (child == 0) _exit(page_is_zero(at + 3 * kPage) ? 0 : 1);
  int status;
  CHECK(waitpid(child, &status, 0) == child && status == 0);
}

static void merged() {
  char* before = map_memory(16 * kPage);
  if (prctl(67, 1, 0, 0, 0)) skip("this kernel has no PR_SET_MEMORY_MERGE");
  for (size_t i = 0; i < 16; ++i) fill_page(before + i * kPage, 1);
  char* not_so = map_memory(16 * kPage);
  CHECK(madvise(not_so, 16 * kPage, MADV_UNMERGEABLE) == 0);
  usleep(200'000);  // for the kernel to merge them, if it does
  ready();
  CHECK(prctl(68, 0, 0, 0, 0) == 1);
  for (size_t i = 0; i < 16; ++i) CHECK(page_is(before + i * kPage, 1));
  fill_page(before + kPage, 9);
  CHECK(page_is(before, 1) && page_is(before + 2 * kPage, 1));
}

// Whether new memory is locked, and at once.
static int lock_of_new_memory() {
  char* at = map_memory(kPage);
  unsigned char present = 0;
  CHECK(mincore(at, kPage, &present) == 0);
  bool locked = madvise(at, kPage, MADV_DONTNEED) != 0;
  CHECK(munmap(at, kPage) == 0);
  return locked ? (present & 1 ? 1 : 2) : 0;
}
static void locked(int flags, int expected) {
  char* early = map_memory(2 * kPage);
  char* guard = map_memory(kPage, MAP_PRIVATE, PROT_NONE);
  fill_page(early, 1);
  if (mlockall(flags)) skip("no memory can be locked");
  char* open = map_memory(2 * kPage);
  CHECK(munlock(open, kPage) == 0 && lock_of_new_memory() == expected);
  ready();
  CHECK(page_is(early, 1) && lock_of_new_memory() == expected);
  for (char* current : {early, guard})
    CHECK((madvise(current, kPage, MADV_DONTNEED) != 0) == ((flags & MCL_CURRENT) != 0));
  CHECK(madvise(open, kPage, MADV_DONTNEED) == 0);
}

static int answer_of(void* code) { return reinterpret_cast<int (*)()>(code)(); }
static void write_answer(char* code, int answer) {
  code[0] = static_cast<char>(0xb8);  // mov $answer, %eax; ret
  memcpy(code + 1, &answer, sizeof answer);
  code[5] = static_cast<char>(0xc3);
}
static void compiled() {
  char* strict = map_memory(2 * kPage);
  char* loose = map_memory(kPage, MAP_PRIVATE, PROT_READ | PROT_WRITE | PROT_EXEC);
  int fd = memfd_create("code", 0);
  CHECK(fd >= 0 && ftruncate(fd, kPage) == 0);
  auto* written = static_cast<char*>(mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  void* executed = mmap(nullptr, kPage, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
  CHECK(written != MAP_FAILED && executed != MAP_FAILED && close(fd) == 0);
  write_answer(strict, 1);
  write_answer(strict + kPage, 2);
  write_answer(loose, 3);
  write_answer(written, 4);
  CHECK(mprotect(strict, kPage, PROT_READ | PROT_EXEC) == 0 && answer_of(strict) == 1);
  ready();
  catch_signals();
  CHECK(answer_of(strict) == 1 && signal_at(strict) == SIGSEGV);
  CHECK(mprotect(strict + kPage, kPage, PROT_READ | PROT_EXEC) == 0 && answer_of(strict + kPage) == 2);
  CHECK(answer_of(loose) == 3 && answer_of(executed) == 4);
  write_answer(loose, 5);
  write_answer(written, 6);
  CHECK(answer_of(loose) == 5 && answer_of(executed) == 6);
}

static void past_end() {
  int fd = open("short", O_RDWR | O_CREAT | O_TRUNC, 0600);
  char bytes[kPage];
  fill_page(bytes, 1);
  CHECK(fd >= 0 && write(fd, bytes, kPage) == static_cast<ssize_t>(kPage) && write(fd, "x", 1) == 1);
  auto* own = static_cast<char*>(mmap(nullptr, 4 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0));
  auto* common = static_cast<char*>(mmap(nullptr, 4 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  int memory = memfd_create("short", 0);
  CHECK(own != MAP_FAILED && common != MAP_FAILED && memory >= 0 && ftruncate(memory, kPage) == 0);
  auto* held = static_cast<char*>(mmap(nullptr, 2 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0));
  CHECK(held != MAP_FAILED);
  own[kPage + 1] = 'y';
  ready();
  catch_signals();
  CHECK(page_is(own, 1) && page_is(common, 1) && own[kPage] == 'x' && own[kPage + 1] == 'y');
  for (char* area : {own, common})
    for (size_t page : {2, 3}) CHECK(signal_at(area + page * kPage) == SIGBUS);
  CHECK(signal_at(held + kPage) == SIGBUS && signal_at(held) == 0);
  CHECK(ftruncate(fd, 3 * kPage) == 0 && signal_at(common + 2 * kPage) == 0 && signal_at(own + 2 * kPage) == 0);
  CHECK(signal_at(common + 3 * kPage) == SIGBUS);
}

// Huge pages without having asked for them.
static void always() {
  char text[64]{};
  int fd = open("/sys/kernel/mm/transparent_hugepage/enabled", O_RDONLY);
  if (fd < 0 || read(fd, text, sizeof text - 1) <= 0 || !strstr(text, "[always]"))
    skip("huge pages are not given to everybody (transparent_hugepage/enabled)");
  close(fd);
  char* at = map_memory(8 * kHugePage);
  for (size_t i = 0; i < 8 * kHugePage / kPage; i += 3) fill_page(at + i * kPage, i);
  ready();
  for (size_t i = 0; i < 8 * kHugePage / kPage; ++i)
    CHECK(i % 3 ? page_is_zero(at + i * kPage) : page_is(at + i * kPage, i));
}

int main(int, char** arguments) {
  const char* kind = arguments[1];
  if (!strcmp(kind, "sealed")) sealed();
  if (!strcmp(kind, "droppable")) droppable();
  if (!strcmp(kind, "merged")) merged();
  if (!strcmp(kind, "locked")) locked(MCL_CURRENT | MCL_FUTURE, 1);
  if (!strcmp(kind, "locked_on_fault")) locked(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT, 2);
  if (!strcmp(kind, "locked_later")) locked(MCL_FUTURE, 1);
  if (!strcmp(kind, "locked_now")) locked(MCL_CURRENT, 0);
  if (!strcmp(kind, "compiled")) compiled();
  if (!strcmp(kind, "past_end")) past_end();
  if (!strcmp(kind, "always")) always();
  return 0;
}
