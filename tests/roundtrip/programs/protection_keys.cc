// SPDX-License-Identifier: LGPL-2.1-or-later
// Protection keys of memory (pkeys(7)): which ones are allocated, which areas have which, and what each thread may do
// with them. With the argument "first", memory that may only be executed, to which the kernel gives a key, comes
// before all others; with "last", after them; with "freed", a key is freed that an area has still.
#include <setjmp.h>

#include <atomic>
#include <thread>

#include "program.h"

static uint32_t rights() {
  uint32_t value, unused;
  asm volatile(".byte 0x0f, 0x01, 0xee" : "=a"(value), "=d"(unused) : "c"(0));  // rdpkru
  return value;
}
static void set_rights(uint32_t value) {
  asm volatile(".byte 0x0f, 0x01, 0xef" : : "a"(value), "c"(0), "d"(0) : "memory");  // wrpkru
}
static uint32_t forbidding(uint32_t value, int key, uint32_t what) {
  return (value & ~(3u << 2 * key)) | what << 2 * key;
}

static thread_local sigjmp_buf back;
static thread_local int key_of_fault;

// The key that stands in the way, or 0.
static int key_in_the_way(volatile char* at, bool writes) {
  uint32_t before = rights();
  key_of_fault = 0;
  if (sigsetjmp(back, 1) == 0) {
    if (writes)
      *at = *at;
    else
      (void)*at;
  }
  set_rights(before);  // a handler has other ones
  return key_of_fault;
}

static char* code() {
  char* at = map_memory(kPage);
  memcpy(at, "\xb8\x2a\0\0\0\xc3", 6);  // mov $42, %eax; ret
  CHECK(mprotect(at, kPage, PROT_EXEC) == 0);
  return at;
}
static int run(char* at) { return reinterpret_cast<int (*)()>(at)(); }

int main(int, char** arguments) {
  std::string variant = arguments[1];
  struct sigaction action{};
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  action.sa_sigaction = [](int, siginfo_t* info, void*) {
    key_of_fault = info->si_code == SEGV_PKUERR ? static_cast<int>(info->si_pkey) : -1;
    siglongjmp(back, 1);
  };
  CHECK(sigaction(SIGSEGV, &action, nullptr) == 0);
  char* executed = variant == "first" ? code() : nullptr;
  int a = pkey_alloc(0, 0), gone = pkey_alloc(0, 0), b = pkey_alloc(0, PKEY_DISABLE_ACCESS),
      c = pkey_alloc(0, PKEY_DISABLE_WRITE);
  if (a < 0) skip("no protection keys");
  CHECK(gone > a && b > gone && c > b);
  int left = variant == "freed" ? gone : 0;
  char *with_a = map_memory(kPage), *with_b = map_memory(2 * kPage), *with_c = map_memory(kPage, MAP_SHARED),
       *with_gone = map_memory(kPage);
  fill_page(with_a, 1);
  fill_page(with_b, 2);
  fill_page(with_c, 3);
  fill_page(with_gone, 4);
  CHECK(pkey_mprotect(with_a, kPage, PROT_READ | PROT_WRITE, a) == 0 &&
        pkey_mprotect(with_b, 2 * kPage, PROT_READ | PROT_WRITE, b) == 0);
  CHECK(pkey_mprotect(with_c, kPage, PROT_READ | PROT_WRITE, c) == 0);
  if (left) CHECK(pkey_mprotect(with_gone, kPage, PROT_READ | PROT_WRITE, left) == 0);
  CHECK(pkey_free(gone) == 0);
  if (variant == "last") executed = code();
  int of_kernel = variant == "first" ? a - 1 : variant == "last" ? gone : 0;
  uint32_t mine = rights();
  std::atomic<bool> started = false, compare = false;
  std::thread other([&] {
    uint32_t own = forbidding(forbidding(rights(), a, PKEY_DISABLE_WRITE), b, 0);
    set_rights(own);
    started = true;
    while (!compare) usleep(1000);
    CHECK(rights() == own);
    CHECK(key_in_the_way(with_a, false) == 0 && key_in_the_way(with_a, true) == a &&
          key_in_the_way(with_b, true) == 0);
    CHECK(page_is(with_b, 2));
  });
  while (!started) usleep(1000);
  pid_t child = fork_to([&] {
    wait_until_told();
    CHECK(rights() == mine && key_in_the_way(with_b, false) == b && page_is(with_a, 1));
    CHECK(pkey_free(a) == 0 && pkey_free(gone) < 0);
  });
  usleep(20'000);
  ready();
  compare = true;
  other.join();
  int status;
  CHECK(waitpid(child, &status, 0) == child && status == 0);
  CHECK(rights() == mine);
  CHECK(key_in_the_way(with_a, true) == 0 && page_is(with_a, 1));
  CHECK(key_in_the_way(with_b, false) == b && key_in_the_way(with_b + kPage, false) == b);
  CHECK(key_in_the_way(with_c, false) == 0 && key_in_the_way(with_c, true) == c);
  CHECK(page_is(with_c, 3));
  if (left) {
    set_rights(forbidding(mine, left, PKEY_DISABLE_ACCESS));
    CHECK(key_in_the_way(with_gone, false) == left);
    set_rights(mine);
  }
  CHECK(page_is(with_gone, 4));
  if (executed) {
    CHECK(run(executed) == 42 && key_in_the_way(executed, false) == of_kernel);
    CHECK(pkey_free(of_kernel) < 0);
    char* another = code();  // gets the same
    CHECK(run(another) == 42 && key_in_the_way(another, false) == of_kernel);
    // That it is no longer to be executed only takes the key away.
    CHECK(mprotect(executed, kPage, PROT_READ) == 0 && key_in_the_way(executed, false) == 0 && executed[1] == 42);
  }
  // The lowest that nobody has.
  int next = pkey_alloc(0, 0);
  CHECK(next == (of_kernel == gone ? c + 1 : gone));
  CHECK(pkey_free(c) == 0 && pkey_alloc(0, 0) == c);
  return 0;
}
