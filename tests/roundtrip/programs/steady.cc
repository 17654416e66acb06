// SPDX-License-Identifier: LGPL-2.1-or-later
// Three processes of several threads that compare all the time: vectors and floating-point control held in
// registers, signals and their masks, sleeps, a pipe, locks, clocks, restartable memory. Every one keeps a heart
// beating in the file "hearts", where the driver sees it. Ends with status 1 at the first thing that is wrong.
#include <pthread.h>
#include <semaphore.h>
#include <sys/prctl.h>
#include <sys/time.h>

#include <atomic>
#include <thread>
#include <vector>

#include "program.h"

static std::atomic<uint64_t>* hearts;  // as many as there are beats, then zeros
static std::atomic<int>* count;

struct alignas(32) Vectors {
  uint64_t words[16][4];
};
extern "C" void turn_ymm(const Vectors* from, Vectors* to, uint64_t rounds);
extern "C" void turn_xmm(const Vectors* from, Vectors* to, uint64_t rounds);
asm(R"(
.text
.irp width, ymm, xmm
turn_\width:
  .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
  .ifc \width, ymm
  vmovdqu 32*\n(%rdi), %ymm\n
  .else
  movdqu 32*\n(%rdi), %xmm\n
  .endif
  .endr
  mov %rdx, %rcx
1: sub $1, %rdx
  lea (%rdx, %rcx), %rax
  jnz 1b
  .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
  .ifc \width, ymm
  vmovdqu %ymm\n, 32*\n(%rsi)
  .else
  movdqu %xmm\n, 32*\n(%rsi)
  .endif
  .endr
  .ifc \width, ymm
  vzeroupper
  .endif
  ret
.endr
)");

template <class Body>
static void live(Body body) {
  std::atomic<uint64_t>& heart = hearts[(*count)++];
  sigset_t expected, found;
  CHECK(pthread_sigmask(SIG_BLOCK, nullptr, &expected) == 0);
  do {
    body();
    CHECK(pthread_sigmask(SIG_BLOCK, nullptr, &found) == 0 && memcmp(&found, &expected, 8) == 0);
    ++heart;
  } while (!told());
}

static void block(std::initializer_list<int> signals) {
  sigset_t set;
  sigemptyset(&set);
  for (int signal : signals) sigaddset(&set, signal);
  CHECK(pthread_sigmask(SIG_BLOCK, &set, nullptr) == 0);
}

static void vectors() {
  block({SIGALRM, SIGRTMIN + 7});
  auto turn = __builtin_cpu_supports("avx") ? turn_ymm : turn_xmm;
  size_t bytes = __builtin_cpu_supports("avx") ? 32 : 16;
  Vectors in, out{};
  for (size_t i = 0; i < 64; ++i) in.words[i / 4][i % 4] = 0x0123456789abcdef * (i + 1);
  live([&] {
    turn(&in, &out, 300'000);
    for (size_t i = 0; i < 16; ++i) CHECK(memcmp(in.words[i], out.words[i], bytes) == 0);
  });
}

static void rounding() {
  block({SIGALRM});
  uint32_t mxcsr = 0x1f80 | 0x6000 | 0x8000, now_mxcsr;
  uint16_t control = 0x0f7f, now_control;
  asm volatile("ldmxcsr %0\n fldcw %1" : : "m"(mxcsr), "m"(control));
  live([&] {
    volatile long double sum = 0;
    for (int i = 0; i < 20'000; ++i) sum = sum + 1;
    asm volatile("stmxcsr %0\n fnstcw %1" : "=m"(now_mxcsr), "=m"(now_control));
    CHECK(sum == 20'000 && (now_mxcsr & ~0x3fu) == mxcsr && now_control == control);
  });
}

static void sleeps() {
  block({SIGALRM, SIGTERM});
  live([] {
    timespec length{0, 3 * kMillisecond}, rest{};
    int64_t start = now();
    CHECK(nanosleep(&length, &rest) == 0);
    CHECK(now() - start >= 3 * kMillisecond);
  });
}

static void clocks() {
  block({SIGALRM});
  int64_t last = now();
  live([&] {
    for (int i = 0; i < 1000; ++i) {
      int64_t time = now();
      CHECK(time >= last);
      last = time;
    }
  });
}

static volatile int fired = 0;

// The only one that SIGALRM can reach: it comes every 3 ms, in the midst of everything.
static void alarms() {
  itimerval timer{{0, 3000}, {0, 3000}};
  CHECK(setitimer(ITIMER_REAL, &timer, nullptr) == 0);
  live([] {
    int before = fired;
    for (int64_t start = now(); fired == before;) CHECK(now() - start < 60'000 * kMillisecond);
  });
}

static void wait_long() {  // never returns
  block({SIGALRM});
  timespec length{100'000, 0}, rest{};
  nanosleep(&length, &rest);
  failed("a long sleep ended", __FILE_NAME__, __LINE__);
}

static void ping(sem_t* mine, sem_t* other) {
  block({SIGALRM});
  live([&] {
    CHECK(sem_post(other) == 0);
    while (sem_trywait(mine) == -1) {
      timespec limit;
      CHECK(clock_gettime(CLOCK_REALTIME, &limit) == 0);
      limit.tv_sec += 100;
      if (sem_timedwait(mine, &limit) == 0) break;
      CHECK(errno == EAGAIN);
    }
    usleep(500);
  });
  sem_post(other);
}

static void read_pipe(int fd) {
  uint64_t expected = 0, got[8];
  live([&] {
    CHECK(read(fd, got, sizeof got) == sizeof got);
    for (uint64_t word : got) CHECK(word == expected++);
  });
}
// The reader may be the first to hear that it is over.
static bool is_written(int fd, const void* words, size_t size) {
  ssize_t written = write(fd, words, size);
  return written == static_cast<ssize_t>(size) || (written == -1 && errno == EPIPE && told());
}
static void write_pipe(int fd) {
  block({SIGALRM});
  uint64_t next = 0;
  live([&] {
    uint64_t words[8];
    for (uint64_t& word : words) word = next++;
    CHECK(is_written(fd, words, sizeof words));
    usleep(300);
  });
  uint64_t last[800];  // for a reader that still waits
  for (uint64_t& word : last) word = next++;
  CHECK(is_written(fd, last, sizeof last));
}

int main() {
  int fd = open("hearts", O_RDWR | O_CREAT | O_TRUNC, 0600);
  CHECK(fd >= 0 && ftruncate(fd, kPage) == 0);
  void* shared = mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  CHECK(shared != MAP_FAILED && close(fd) == 0);
  hearts = static_cast<std::atomic<uint64_t>*>(shared);
  count = reinterpret_cast<std::atomic<int>*>(map_memory(kPage, MAP_SHARED));
  struct sigaction action{};
  action.sa_handler = [](int) { fired = fired + 1; };
  action.sa_flags = SA_RESTART | SA_NODEFER;  // its mask stays what it is also inside the handler
  CHECK(sigaction(SIGALRM, &action, nullptr) == 0);
  int pipes[2];
  CHECK(pipe(pipes) == 0);
  CHECK(signal(SIGPIPE, SIG_IGN) != SIG_ERR);

  pid_t child = fork();
  if (child == 0) {
    pid_t grandchild = fork();
    if (grandchild == 0) {
      CHECK(setsid() > 0);
      std::thread one(clocks), two(vectors);
      sleeps();
      one.join();
      two.join();
      _exit(0);
    }
    std::thread one(vectors), two(rounding), three(sleeps);
    close(pipes[1]);
    read_pipe(pipes[0]);
    one.join();
    two.join();
    three.join();
    int status;
    CHECK(waitpid(grandchild, &status, 0) == grandchild && status == 0);
    _exit(0);
  }
  close(pipes[0]);
  sem_t left, right;
  CHECK(sem_init(&left, 0, 0) == 0 && sem_init(&right, 0, 0) == 0);
  std::vector<std::thread> threads;
  threads.emplace_back(vectors);
  threads.emplace_back(rounding);
  threads.emplace_back([&] { ping(&left, &right); });
  threads.emplace_back([&] { ping(&right, &left); });
  threads.emplace_back([&] { write_pipe(pipes[1]); });
  std::thread(wait_long).detach();
  while (*count < 12) usleep(1000);
  say_ready();
  alarms();
  for (auto& thread : threads) thread.join();
  int status;
  CHECK(waitpid(child, &status, 0) == child && status == 0);
  return 0;
}
