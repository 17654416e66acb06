// SPDX-License-Identifier: LGPL-2.1-or-later
// One thing that a dump has to refuse, by argument. Prints the PID of the process to dump, and finds its
// thing as good as before in the end.
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/audit.h>
#include <linux/bpf.h>
#include <linux/filter.h>
#include <linux/fs.h>
#include <linux/keyctl.h>
#include <linux/landlock.h>
#include <linux/mempolicy.h>
#include <linux/perf_event.h>
#include <linux/rtnetlink.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include <mqueue.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/fanotify.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/rseq.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <termios.h>

#include <functional>
#include <map>
#include <string>
#include <thread>

#include "program.h"

using Verify = std::function<void()>;

static pid_t target = 0;  // what to dump, if not this process

static Verify nothing() {
  return [] {};
}
// A descriptor of which readiness is all that can be compared.
static Verify keeps(int fd) {
  if (fd < 0) skip(strerrordesc_np(errno));
  struct stat before;
  CHECK(fstat(fd, &before) == 0);
  return [=] {
    struct stat after;
    CHECK(fstat(fd, &after) == 0 && after.st_ino == before.st_ino);
  };
}
// What nobody has used is taken for that of every process of its user; other tests run at the same time.
static void become_nobody_else() { CHECK(seteuid(54321) == 0); }
static int new_file(const char* name) {
  int fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
  CHECK(fd >= 0 && write(fd, "content", 7) == 7);
  return fd;
}
static mqd_t new_queue() {
  mqd_t queue = mq_open("/kernel-swap-test", O_RDWR | O_CREAT, 0600, nullptr);
  if (queue < 0) skip("no message queues");
  mq_unlink("/kernel-swap-test");
  return queue;
}
static aio_context_t new_aio_context() {
  aio_context_t context = 0;
  if (syscall(SYS_io_setup, 1, &context)) skip("no asynchronous I/O");
  return context;
}
static std::pair<int, int> new_terminal() {
  int master = posix_openpt(O_RDWR | O_NOCTTY);
  if (master < 0 || grantpt(master) || unlockpt(master)) skip("no pseudo-terminals");
  int slave = open(ptsname(master), O_RDWR | O_NOCTTY);
  CHECK(slave >= 0);
  return {master, slave};
}
static pid_t fork_child(const std::function<void()>& body) {
  pid_t child = fork();
  if (child == 0) {
    body();
    _exit(0);
  }
  return child;
}
static Verify ends_well(pid_t child) {
  return [=] {
    int status;
    CHECK(waitpid(child, &status, __WALL) == child && status == 0);
  };
}
// A child that does `first` and waits, at once or when this process dies.
static Verify lives_in_child(const std::function<void()>& first) {
  int fds[2];
  CHECK(pipe2(fds, O_CLOEXEC) == 0);
  pid_t child = fork_child([&] {
    first();
    CHECK(write(fds[1], "x", 1) == 1);
    close(fds[0]);
    close(fds[1]);
    wait_until_told();
  });
  char byte;
  close(fds[1]);
  if (read(fds[0], &byte, 1) != 1) skip("not possible here");
  close(fds[0]);
  return ends_well(child);
}
static void set(const char* path, const char* value) {
  int fd = open(path, O_WRONLY);
  if (fd < 0 || write(fd, value, strlen(value)) < 0) _exit(77);
  close(fd);
}
// In the first process of a PID namespace that belongs to a user namespace, by one who is no root.
static Verify in_container(const std::function<void()>& body) {
  CHECK(chmod(".", 0777) == 0);
  return lives_in_child([&] {
    int fds[2];
    CHECK(pipe(fds) == 0 && setresgid(1234, 1234, 1234) == 0 && setresuid(1234, 1234, 1234) == 0);
    if (unshare(CLONE_NEWUSER | CLONE_NEWPID)) _exit(77);
    fork_child([&] {
      body();
      CHECK(write(fds[1], "x", 1) == 1);
      wait_until_told();
    });
    char byte;
    CHECK(read(fds[0], &byte, 1) == 1);
    close(fds[0]);
    close(fds[1]);
  });
}
static Verify in_namespace(int flag, const std::function<void()>& then = [] {}) {
  return lives_in_child([=] {
    if (unshare(flag)) _exit(77);
    then();
    if (flag & CLONE_NEWPID) {
      pid_t inner = fork_child(wait_until_told);
      wait_until_told();
      CHECK(waitpid(inner, nullptr, 0) == inner);
    }
  });
}
// A thread that has done `first`.
static Verify waits_in_thread(void (*first)()) {
  static volatile bool done = false, finish = false;
  auto* thread = new std::thread([=] {
    first();
    done = true;
    while (!finish) usleep(1000);
  });
  while (!done) usleep(1000);
  return [=] {
    finish = true;
    thread->join();
  };
}
// A control group for one of us, be it of cgroup v2 or of a hierarchy of v1.
static std::string group_path;
static const std::string& new_group() {
  for (const char* top : {"/sys/fs/cgroup/unified", "/sys/fs/cgroup"}) {
    group_path = std::string(top) + "/kernel-swap-test-" + std::to_string(getpid());
    if (access((std::string(top) + "/cgroup.threads").c_str(), F_OK) == 0 && mkdir(group_path.c_str(), 0700) == 0)
      return group_path;
  }
  skip("no control group can be made");
}
// A child that has joined the group and waits.
static pid_t in_group(const std::string& path) {
  int fds[2];
  CHECK(pipe2(fds, O_CLOEXEC) == 0);
  pid_t child = fork_child([&] {
    set((path + "/cgroup.procs").c_str(), std::to_string(getpid()).c_str());
    CHECK(write(fds[1], "x", 1) == 1);
    close(fds[0]);
    close(fds[1]);
    wait_until_told();
  });
  char byte;
  close(fds[1]);
  CHECK(read(fds[0], &byte, 1) == 1);
  close(fds[0]);
  return child;
}
static Verify removes_group(pid_t child) {
  return [=] {
    ends_well(child)();
    rmdir((group_path + "/below").c_str());
    for (int i = 0; i < 100 && rmdir(group_path.c_str()); ++i) usleep(10'000);
  };
}
static Verify finds_key(const char* name) {
  return [=] { CHECK(syscall(SYS_request_key, "user", name, nullptr, 0) > 0); };
}
// Two processes that share with each other what processes do not.
static pid_t clone_child(unsigned long flags) {
  auto* stack = new char[65536];
  int child = clone(
      [](void*) {
        while (!told()) usleep(1000);
        return 0;
      },
      stack + 65536, static_cast<int>(flags) | SIGCHLD, nullptr);
  CHECK(child > 0);
  return child;
}
static Verify shares(unsigned long flags) { return ends_well(clone_child(flags)); }
static Verify shares_with_target(unsigned long flags) {
  target = clone_child(flags);
  return ends_well(target);
}

// A thread with a filter for one call.
static Verify filters_thread(uint32_t number, uint32_t action) {
  static volatile bool filtered = false, finish = false;
  auto* thread = new std::thread([=] {
    sock_filter filter[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
                            BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1), BPF_STMT(BPF_RET | BPF_K, action),
                            BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
    sock_fprog program{4, filter};
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) skip("this kernel has no seccomp filters");
    filtered = true;
    while (!finish) usleep(1000);
  });
  while (!filtered) usleep(1000);
  return [=] {
    finish = true;
    thread->join();
  };
}

static const std::map<std::string, std::function<Verify()>> kThings = {
    {"immutable_file",
     [] {
       int fd = new_file("file"), flags = FS_IMMUTABLE_FL, none = 0;
       if (ioctl(fd, FS_IOC_SETFLAGS, &flags)) skip("no file can be made immutable");
       return Verify([=] { CHECK(ioctl(fd, FS_IOC_SETFLAGS, &none) == 0 && write(fd, "x", 1) == 1); });
     }},
    {"inotify_in_memory",
     [] {
       int fd = inotify_init1(0);
       char name[] = "/dev/shm/kernel-swap-test-XXXXXX";
       CHECK(mkdtemp(name) && inotify_add_watch(fd, name, IN_DELETE_SELF) >= 0);
       std::string directory = name;
       Verify verify = keeps(fd);
       return Verify([=] {
         verify();
         CHECK(rmdir(directory.c_str()) == 0);
       });
     }},
    {"inotify_unread",
     [] {
       int fd = inotify_init1(0);
       CHECK(inotify_add_watch(fd, ".", IN_CREATE) >= 0);
       close(new_file("seen"));
       return [=] {
         char event[4096];
         CHECK(read(fd, event, sizeof event) > 0);
       };
     }},
    {"fanotify_for_permissions", [] { return keeps(fanotify_init(FAN_CLASS_CONTENT | FAN_CLOEXEC, O_RDONLY)); }},
    {"fanotify_that_decides",
     [] {
       int fd = fanotify_init(FAN_CLASS_CONTENT | FAN_CLOEXEC | FAN_NONBLOCK, O_RDONLY);
       close(new_file("file"));
       if (fd < 0 || fanotify_mark(fd, FAN_MARK_ADD, FAN_OPEN_PERM, AT_FDCWD, "file")) skip("nobody can decide");
       return keeps(fd);
     }},
    {"fanotify_unread",
     [] {
       int fd = fanotify_init(FAN_CLASS_NOTIF | FAN_CLOEXEC | FAN_NONBLOCK, O_RDONLY);
       close(new_file("file"));
       if (fd < 0 || fanotify_mark(fd, FAN_MARK_ADD, FAN_OPEN, AT_FDCWD, "file")) skip("no fanotify");
       close(open("file", O_RDONLY));
       return Verify([=] {
         fanotify_event_metadata event;
         CHECK(read(fd, &event, sizeof event) == sizeof event && event.mask == FAN_OPEN && event.fd >= 0);
       });
     }},
    {"epoll_of_a_file_gone",
     [] {
       int fds[2], epoll = epoll_create1(0);
       epoll_event event{EPOLLIN, {.u64 = 9}};
       CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0 && epoll_ctl(epoll, EPOLL_CTL_ADD, fds[1], &event) == 0);
       // It lives on, in a process of which the target knows nothing, and which ends with it.
       int ends[2];
       CHECK(pipe(ends) == 0);
       pid_t between = fork_to([&] {
         if (fork()) _exit(0);
         char byte;
         CHECK(setsid() > 0 && close(fds[0]) == 0 && close(epoll) == 0 && close(ends[1]) == 0);
         CHECK(read(ends[0], &byte, 1) == 0);
       });
       CHECK(waitpid(between, nullptr, 0) == between && close(ends[0]) == 0 && close(fds[1]) == 0);
       return [=] {
         epoll_event got;
         CHECK(write(fds[0], "x", 1) == 1 && epoll_wait(epoll, &got, 1, 0) == 1 && got.data.u64 == 9);
       };
     }},
    {"epoll_of_a_timer_fired",
     [] {
       int epoll = epoll_create1(0), fd = timerfd_create(CLOCK_MONOTONIC, 0);
       epoll_event event{EPOLLIN | EPOLLONESHOT, {.u64 = 9}};
       itimerspec soon{{}, {0, 1}};
       CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0 && timerfd_settime(fd, 0, &soon, nullptr) == 0);
       uint64_t count;
       CHECK(epoll_wait(epoll, &event, 1, -1) == 1 && read(fd, &count, 8) == 8);
       return [=] {
         CHECK(timerfd_settime(fd, 0, &soon, nullptr) == 0);
         epoll_event got;
         CHECK(epoll_wait(epoll, &got, 1, 5) == 0);
       };
     }},
    {"pidfd_from_outside", [] { return keeps(static_cast<int>(syscall(SYS_pidfd_open, getppid(), 0))); }},
    {"directory_notification",
     [] {
       CHECK(signal(SIGIO, SIG_IGN) != SIG_ERR);
       int fd = open(".", O_RDONLY | O_DIRECTORY);
       if (fcntl(fd, F_NOTIFY, DN_CREATE | DN_MULTISHOT)) skip(strerrordesc_np(errno));
       return keeps(fd);
     }},
    {"owner_outside",
     [] {
       int fds[2];
       CHECK(pipe(fds) == 0 && fcntl(fds[0], F_SETOWN, getppid()) == 0);
       return [=] { CHECK(fcntl(fds[0], F_GETOWN) == getppid()); };
     }},
    {"fifo_from_outside",
     [] {
       CHECK(mkfifo("fifo", 0600) == 0);
       int fd = open("fifo", O_RDWR);
       target = fork_child([=] {
         char byte;
         CHECK(read(fd, &byte, 1) == 1);
       });
       return [=] {
         CHECK(write(fd, "x", 1) == 1);
         ends_well(target)();
       };
     }},
    {"userfaultfd", [] { return keeps(static_cast<int>(syscall(SYS_userfaultfd, O_CLOEXEC))); }},
    {"userfaultfd_area",
     [] {
       int fd = static_cast<int>(syscall(SYS_userfaultfd, O_CLOEXEC));
       uffdio_api api{.api = UFFD_API};
       if (fd < 0 || ioctl(fd, UFFDIO_API, &api)) skip("no userfaultfd");
       uffdio_register area{.range = {reinterpret_cast<uint64_t>(map_memory(kPage)), kPage},
                            .mode = UFFDIO_REGISTER_MODE_MISSING};
       CHECK(ioctl(fd, UFFDIO_REGISTER, &area) == 0);
       return keeps(fd);
     }},
    {"perf_event",
     [] {
       perf_event_attr attributes{
           .type = PERF_TYPE_SOFTWARE, .size = sizeof attributes, .config = PERF_COUNT_SW_CPU_CLOCK};
       return keeps(static_cast<int>(syscall(SYS_perf_event_open, &attributes, 0, -1, -1, 0)));
     }},
    {"aio_in_flight",
     [] {
       aio_context_t context = new_aio_context();
       int fd = eventfd(0, 0);
       iocb request{};
       request.aio_lio_opcode = IOCB_CMD_POLL;
       request.aio_fildes = static_cast<uint32_t>(fd);
       request.aio_buf = POLLIN;
       iocb* list[] = {&request};
       CHECK(fd >= 0 && syscall(SYS_io_submit, context, 1, list) == 1);
       return Verify([=] {
         io_event event;
         CHECK(eventfd_write(fd, 1) == 0 && syscall(SYS_io_getevents, context, 1, 1, &event, nullptr) == 1);
       });
     }},
    {"aio_inherited",
     [] {
       new_aio_context();
       target = fork_child(wait_until_told);
       return ends_well(target);
     }},
    {"aio_unmapped",
     [] {
       aio_context_t context = new_aio_context(), another = new_aio_context();
       CHECK(munmap(reinterpret_cast<void*>(another), kPage) == 0);
       return Verify([=] { CHECK(syscall(SYS_io_destroy, context) == 0); });
     }},
    {"aio_written_to",
     [] {
       aio_context_t context = new_aio_context();
       constexpr int kTail = 3;
       reinterpret_cast<uint32_t*>(context)[kTail] = 1;
       return Verify([=] { CHECK(syscall(SYS_io_destroy, context) == 0); });
     }},
    {"message_queue_not_open",
     [] {
       become_nobody_else();
       mqd_t queue = mq_open("/kernel-swap-test-2", O_RDWR | O_CREAT, 0600, nullptr);
       if (queue < 0) skip("no message queues");
       mq_close(queue);
       return Verify([=] { CHECK(mq_unlink("/kernel-swap-test-2") == 0); });
     }},
    {"message_queue_of_others",
     [] {
       mqd_t queue = new_queue();
       target = fork_child(wait_until_told);
       Verify end = ends_well(target);
       return Verify([=] {
         end();
         CHECK(mq_send(queue, "x", 1, 0) == 0);
       });
     }},
    {"message_queue_with_notification",
     [] {
       mqd_t queue = new_queue();
       static volatile bool came = false;
       signal(SIGUSR1, [](int) { came = true; });
       sigevent event{};
       event.sigev_notify = SIGEV_SIGNAL;
       event.sigev_signo = SIGUSR1;
       CHECK(mq_send(queue, "x", 1, 0) == 0 && mq_notify(queue, &event) == 0);
       return Verify([=] {
         std::string text(8192, '\0');
         CHECK(!came && mq_receive(queue, text.data(), text.size(), nullptr) == 1);
         CHECK(mq_send(queue, "x", 1, 0) == 0 && came);
       });
     }},
    {"message_queue_with_notified_thread",
     [] {
       mqd_t queue = new_queue();
       static std::atomic<int> came = 0;
       sigevent event{};
       event.sigev_notify = SIGEV_THREAD;
       event.sigev_notify_function = [](sigval value) { came = value.sival_int; };
       event.sigev_value.sival_int = 4711;
       CHECK(mq_notify(queue, &event) == 0);
       return Verify([=] {
         CHECK(mq_send(queue, "x", 1, 0) == 0);
         while (!came) usleep(1000);
         CHECK(came == 4711);
       });
     }},
    {"bpf_map",
     [] {
       bpf_attr map{};
       map.map_type = BPF_MAP_TYPE_ARRAY;
       map.key_size = map.value_size = 4;
       map.max_entries = 1;
       int fd = static_cast<int>(syscall(SYS_bpf, BPF_MAP_CREATE, &map, sizeof map));
       if (fd < 0) skip("no BPF maps");
       return keeps(fd);
     }},
    {"fuse_device",
     [] {
       int fd = open("/dev/fuse", O_RDWR);
       if (fd < 0) skip("no /dev/fuse");
       return keeps(fd);
     }},
    {"tun_device",
     [] {
       int fd = open("/dev/net/tun", O_RDWR);
       if (fd < 0) skip("no /dev/net/tun");
       return keeps(fd);
     }},
    {"memory_of_others",
     [] {
       int fd = memfd_create("thing", 0);
       target = fork_child([&] {
         wait_until_told();
         CHECK(pwrite(fd, "x", 1, 0) == 1);
       });
       return [=] {
         ends_well(target)();
         char byte;
         CHECK(pread(fd, &byte, 1, 0) == 1 && byte == 'x');
       };
     }},
    {"large_deleted_file",
     [] {
       int fd = new_file("deleted");
       if (fallocate(fd, 0, 0, (off_t{1} << 30) + (1 << 20))) skip("no room for a large file");
       CHECK(unlink("deleted") == 0);
       return keeps(fd);
     }},
    {"sysv_memory",
     [] {
       int id = shmget(IPC_PRIVATE, kPage, 0600);
       void* at = shmat(id, nullptr, 0);
       if (id < 0 || at == reinterpret_cast<void*>(-1)) skip("no System V shared memory");
       shmctl(id, IPC_RMID, nullptr);
       fill_page(at, 1);
       target = fork_child([=] {
         wait_until_told();
         CHECK(page_is(at, 1));
       });
       return ends_well(target);
     }},
    {"sysv_memory_of_others",
     [] {
       auto* id = reinterpret_cast<int*>(map_memory(kPage, MAP_SHARED));
       *id = -1;
       target = fork_child([=] {
         int made = shmget(IPC_PRIVATE, kPage, 0600);
         *id = made;
         munmap(id, kPage);
         wait_until_told();
       });
       while (*static_cast<volatile int*>(id) < 0) usleep(1000);
       int made = *id;
       void* at = shmat(made, nullptr, 0);
       CHECK(at != reinterpret_cast<void*>(-1));
       fill_page(at, 1);
       usleep(200'000);  // until it has no memory in common with us
       Verify end = ends_well(target);
       return Verify([=] {
         end();
         CHECK(page_is(at, 1) && shmctl(made, IPC_RMID, nullptr) == 0);
       });
     }},
    {"sysv_queue_of_others",
     [] {
       int id = msgget(IPC_PRIVATE, 0600);
       if (id < 0) skip("no System V message queues");
       target = fork_child([=] {
         long message[2] = {1, 0};
         CHECK(msgsnd(id, message, 8, 0) == 0);
         wait_until_told();
         CHECK(msgrcv(id, message, 8, 0, 0) == 8);
       });
       long message[2];
       CHECK(msgrcv(id, message, 8, 0, 0) == 8);
       Verify end = ends_well(target);
       return Verify([=] {
         long again[2] = {1, 0};
         CHECK(msgsnd(id, again, 8, 0) == 0);
         end();
         CHECK(msgctl(id, IPC_RMID, nullptr) == 0);
       });
     }},
    {"sysv_semaphores_of_others",
     [] {
       int id = semget(IPC_PRIVATE, 2, 0600);
       if (id < 0) skip("no System V semaphores");
       sembuf mine{0, 1, 0}, its{1, 1, 0};
       CHECK(semop(id, &mine, 1) == 0);
       target = fork_child([&] {
         CHECK(semop(id, &its, 1) == 0);
         wait_until_told();
       });
       while (semctl(id, 1, GETVAL) != 1) usleep(1000);
       Verify end = ends_well(target);
       return Verify([=] {
         end();
         CHECK(semctl(id, 0, GETVAL) == 1 && semctl(id, 0, IPC_RMID) == 0);
       });
     }},
    {"sysv_semaphores_adjusted",
     [] {
       int id = semget(IPC_PRIVATE, 1, 0600);
       if (id < 0) skip("no System V semaphores");
       target = fork_child([=] {
         sembuf up{0, 5, SEM_UNDO};
         CHECK(semop(id, &up, 1) == 0);
         wait_until_told();
       });
       while (semctl(id, 0, GETVAL) != 5) usleep(1000);
       sembuf down{0, -1, 0}, up{0, 1, 0};
       CHECK(semop(id, &down, 1) == 0 && semop(id, &up, 1) == 0);  // of which we are the last user now
       Verify end = ends_well(target);
       return Verify([=] {
         end();
         CHECK(semctl(id, 0, GETVAL) == 0 && semctl(id, 0, IPC_RMID) == 0);
       });
     }},
    {"sysv_queue_not_used",
     [] {
       become_nobody_else();
       target = fork_child(wait_until_told);
       int id = msgget(IPC_PRIVATE, 0600);
       if (id < 0) skip("no System V message queues");
       Verify end = ends_well(target);
       return Verify([=] {
         end();
         CHECK(msgctl(id, IPC_RMID, nullptr) == 0);
       });
     }},
    {"sysv_semaphores_not_used",
     [] {
       become_nobody_else();
       target = fork_child(wait_until_told);
       int id = semget(IPC_PRIVATE, 3, 0600);
       if (id < 0) skip("no System V semaphores");
       Verify end = ends_well(target);
       return Verify([=] {
         end();
         CHECK(semctl(id, 0, IPC_RMID) == 0);
       });
     }},
    {"semaphore_undo_of_a_thread", [] { return waits_in_thread([] { CHECK(unshare(CLONE_SYSVSEM) == 0); }); }},
    {"semaphore_undo_of_processes", [] { return shares(CLONE_SYSVSEM); }},
    {"landlock",
     [] {
       landlock_ruleset_attr rules{};
       rules.handled_access_fs = LANDLOCK_ACCESS_FS_MAKE_BLOCK;
       int fd = static_cast<int>(syscall(SYS_landlock_create_ruleset, &rules, sizeof rules.handled_access_fs, 0));
       if (fd < 0) skip(strerrordesc_np(errno));
       // One thread alone.
       std::thread([fd] {
         CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && syscall(SYS_landlock_restrict_self, fd, 0) == 0);
         close(fd);
         for (;;) pause();
       }).detach();
       usleep(100'000);
       return [] { CHECK(access(".", W_OK) == 0); };
     }},
    {"memory_policy",
     [] {
       unsigned long node = 1;
       if (syscall(SYS_set_mempolicy, MPOL_BIND, &node, 8)) skip("this kernel has no memory policies");
       return Verify([] {
         int mode = -1;
         CHECK(syscall(SYS_get_mempolicy, &mode, nullptr, 0, nullptr, 0) == 0 && mode == MPOL_BIND);
       });
     }},
    {"stack_with_protection_key",
     [] {
       int key = pkey_alloc(0, 0);
       if (key < 0) skip("no protection keys");
       std::string maps = content("/proc/self/maps");
       size_t line = maps.rfind('\n', maps.find("[stack]")) + 1;
       unsigned long start = 0, end = 0;
       CHECK(sscanf(maps.c_str() + line, "%lx-%lx", &start, &end) == 2);
       CHECK(pkey_mprotect(reinterpret_cast<void*>(start), end - start, PROT_READ | PROT_WRITE, key) == 0);
       return nothing();
     }},
    {"thread_that_may_not_write",
     [] {
       if (pkey_alloc(0, 0) < 0) skip("no protection keys");
       static volatile char finish = 0;
       std::thread thread([] {
         auto* area = static_cast<char*>(__builtin_thread_pointer()) + __rseq_offset;
         constexpr int kUnregister = 1, kSignature = 0x53053053;
         if (__rseq_size) CHECK(syscall(SYS_rseq, area, 32, kUnregister, kSignature) == 0);
         // rdpkru; wrpkru without the right to write; until told; wrpkru as before
         asm volatile(
             "xor %%ecx, %%ecx; .byte 0x0f, 0x01, 0xee; mov %%eax, %%esi; or $2, %%eax; xor %%edx, %%edx\n"
             ".byte 0x0f, 0x01, 0xef; 1: pause; cmpb $0, (%[finish]); je 1b\n"
             "mov %%esi, %%eax; .byte 0x0f, 0x01, 0xef"
             :
             : [finish] "r"(&finish)
             : "rax", "rcx", "rdx", "rsi", "memory");
       });
       static std::thread kept = std::move(thread);
       usleep(200'000);
       return Verify([] {
         finish = 1;
         kept.join();
       });
     }},
    {"proc_file", [] { return keeps(open("/proc/self/mem", O_RDONLY)); }},
    {"proc_file_of_others", [] { return keeps(open("/proc/1/status", O_RDONLY)); }},
    {"pressure_trigger",
     [] {
       int fd = open("/proc/pressure/memory", O_RDWR | O_NONBLOCK);
       const char trigger[] = "some 500000 1000000";
       if (fd < 0 || write(fd, trigger, sizeof trigger) < 0) skip("this kernel has no pressure stall information");
       return keeps(fd);
     }},
    {"kernel_log", [] { return keeps(open("/dev/kmsg", O_RDONLY | O_NONBLOCK)); }},
    {"terminal", [] { return keeps(posix_openpt(O_RDWR | O_NOCTTY)); }},
    {"terminal_from_outside",
     [] {
       int master = posix_openpt(O_RDWR | O_NOCTTY);
       if (master < 0 || grantpt(master) || unlockpt(master)) skip("no pseudo-terminals");
       int slave = open(ptsname(master), O_RDWR | O_NOCTTY);
       target = fork_child([=] {
         close(master);
         char bytes[4];
         CHECK(read(slave, bytes, 4) == 2 && bytes[0] == 'x');
       });
       // Until it has given up what is ours alone.
       std::string its_master = "/proc/" + std::to_string(target) + "/fd/" + std::to_string(master);
       while (access(its_master.c_str(), F_OK) == 0) usleep(1000);
       return [=] {
         CHECK(write(master, "x\n", 2) == 2);
         ends_well(target)();
       };
     }},
    {"terminal_quoting",
     [] {
       auto [master, slave] = new_terminal();
       termios settings{};
       CHECK(tcgetattr(slave, &settings) == 0);
       settings.c_lflag &= ~static_cast<tcflag_t>(ECHO);
       CHECK(tcsetattr(slave, TCSANOW, &settings) == 0);
       CHECK(write(master, "abc\n\026", 5) == 5);
       return Verify([=] {
         char bytes[8];
         CHECK(read(slave, bytes, sizeof bytes) == 4 && memcmp(bytes, "abc\n", 4) == 0 && isatty(master));
       });
     }},
    {"terminal_unread",
     [] {
       auto [master, slave] = new_terminal();
       std::string much(6000, 'x');
       CHECK(write(slave, much.data(), much.size()) == 6000);
       return Verify([=] {
         std::string got(6000, ' ');
         size_t length = 0;
         while (length < got.size()) {
           ssize_t some = read(master, got.data() + length, got.size() - length);
           CHECK(some > 0);
           length += static_cast<size_t>(some);
         }
         CHECK(got == much && isatty(slave));
       });
     }},
    {"terminal_unread_input",
     [] {
       auto [master, slave] = new_terminal();
       termios settings{};
       CHECK(tcgetattr(slave, &settings) == 0);
       cfmakeraw(&settings);
       CHECK(tcsetattr(slave, TCSANOW, &settings) == 0);
       std::string much(6000, 'x');
       CHECK(write(master, much.data(), much.size()) == 6000);
       return Verify([=] {
         std::string got(6000, ' ');
         size_t length = 0;
         while (length < got.size()) {
           ssize_t some = read(slave, got.data() + length, got.size() - length);
           CHECK(some > 0);
           length += static_cast<size_t>(some);
         }
         CHECK(got == much && isatty(master));
       });
     }},
    {"terminal_unread_signalled",
     [] {
       auto [master, slave] = new_terminal();
       CHECK(write(slave, "abc", 3) == 3);
       usleep(20'000);
       static volatile bool came = false;
       signal(SIGIO, [](int) { came = true; });
       CHECK(fcntl(slave, F_SETOWN, getpid()) == 0 && fcntl(slave, F_SETFL, O_RDWR | O_ASYNC) == 0);
       return Verify([=] {
         char bytes[4];
         CHECK(!came && read(master, bytes, 4) == 3 && memcmp(bytes, "abc", 3) == 0);
       });
     }},
    {"terminal_unread_packet",
     [] {
       auto [master, slave] = new_terminal();
       int on = 1;
       CHECK(ioctl(master, TIOCPKT, &on) == 0 && write(slave, "abc", 3) == 3);
       return Verify([=] {
         char bytes[8];
         CHECK(read(master, bytes, sizeof bytes) == 4 && memcmp(bytes, "\0abc", 4) == 0 && isatty(slave));
       });
     }},
    {"controlling_terminal",
     [] {
       int master = posix_openpt(O_RDWR | O_NOCTTY);
       if (master < 0 || grantpt(master) || unlockpt(master)) skip("no pseudo-terminals");
       int slave = open(ptsname(master), O_RDWR);
       CHECK(slave >= 0 && ioctl(slave, TIOCSCTTY, 0) == 0);
       close(slave);
       return keeps(master);
     }},
    {"pipe_from_outside",
     [] {
       int fds[2];
       CHECK(pipe(fds) == 0);
       target = fork_child([&] {
         char byte;
         CHECK(read(fds[0], &byte, 1) == 1);
       });
       return [=] {
         CHECK(write(fds[1], "x", 1) == 1);
         ends_well(target)();
       };
     }},
    {"eventfd_from_outside",
     [] {
       int fd = eventfd(0, 0);
       target = fork_child([&] {
         uint64_t count;
         CHECK(read(fd, &count, sizeof count) == sizeof count);
       });
       return [=] {
         uint64_t one = 1;
         CHECK(write(fd, &one, sizeof one) == sizeof one);
         ends_well(target)();
       };
     }},
    {"thread_time_timer",
     [] {
       timer_t timer;
       sigevent event{};
       event.sigev_notify = SIGEV_NONE;
       CHECK(timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &timer) == 0);
       static volatile bool finish = false;
       auto* thread = new std::thread([] {
         while (!finish) usleep(1000);
       });
       return [=] {
         itimerspec left;
         CHECK(timer_gettime(timer, &left) == 0);
         finish = true;
         thread->join();
       };
     }},
    {"timer_of_a_dead_thread",
     [] {
       timer_t timer;
       std::thread([&] {
         sigevent event{};
         event.sigev_notify = SIGEV_SIGNAL | SIGEV_THREAD_ID;
         event.sigev_signo = SIGUSR1;
         event._sigev_un._tid = static_cast<pid_t>(syscall(SYS_gettid));
         CHECK(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
       }).join();
       return [=] {
         itimerspec left;
         CHECK(timer_gettime(timer, &left) == 0);
       };
     }},
    {"zombie_with_core",
     [] {
       rlimit any{RLIM_INFINITY, RLIM_INFINITY};
       pid_t child = fork_child([&] {
         setrlimit(RLIMIT_CORE, &any);
         abort();
       });
       siginfo_t info;
       CHECK(waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT) == 0);
       if (info.si_code != CLD_DUMPED) skip("no core dumps");
       return [=] {
         int status;
         CHECK(waitpid(child, &status, 0) == child && WCOREDUMP(status));
       };
     }},
    {"parent_death_of_a_thread",
     [] {
       static volatile pid_t child = 0;
       static volatile bool finish = false;
       auto* thread = new std::thread([] {
         child = fork_child([] {
           CHECK(prctl(PR_SET_PDEATHSIG, SIGUSR1) == 0);
           wait_until_told();
         });
         while (!finish) usleep(1000);
       });
       while (!child) usleep(1000);
       usleep(200'000);
       return [=] {
         ends_well(child)();
         finish = true;
         thread->join();
       };
     }},
    {"dead_main_thread",
     [] {
       int fds[2];
       CHECK(pipe(fds) == 0);
       pid_t child = fork_child([&] {
         std::thread([=] {
           usleep(10'000);
           CHECK(write(fds[1], "x", 1) == 1);
           wait_until_told();
           _exit(0);
         }).detach();
         syscall(SYS_exit, 0);  // of this thread alone
       });
       char byte;
       CHECK(read(fds[0], &byte, 1) == 1);
       return ends_well(child);
     }},
    {"seccomp_that_kills_keyctl",
     [] {
       if (syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_PROCESS_KEYRING, 1) < 0) skip("no keys");
       return filters_thread(SYS_keyctl, SECCOMP_RET_KILL_PROCESS);
     }},
    {"seccomp_that_kills", [] { return filters_thread(SYS_prctl, SECCOMP_RET_KILL_PROCESS); }},
    {"seccomp_that_keeps_from_returning", [] { return filters_thread(SYS_rt_sigreturn, SECCOMP_RET_ERRNO | EPERM); }},
    {"seccomp_supervised", [] { return filters_thread(SYS_acct, SECCOMP_RET_USER_NOTIF); }},
    {"seccomp_strict",
     [] {
       // Its only calls are read(2), write(2) and exit(2).
       int fds[2], begun[2];
       CHECK(pipe(fds) == 0 && pipe(begun) == 0);
       target = fork_child([=] {
         close(fds[1]);
         if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT)) _exit(0);
         char byte = 0;
         bool well = write(begun[1], &byte, 1) == 1 && syscall(SYS_read, fds[0], &byte, 1) == 1;
         syscall(SYS_exit, well ? 0 : 1);
       });
       close(fds[0]);
       char byte;
       CHECK(read(begun[0], &byte, 1) == 1);
       return [=] {
         CHECK(write(fds[1], "x", 1) == 1);
         ends_well(target)();
       };
     }},
    {"system_call_dispatch",
     [] {
       static volatile char selector = SYSCALL_DISPATCH_FILTER_ALLOW;
       static volatile bool caught = false;
       signal(SIGSYS, [](int) {
         selector = SYSCALL_DISPATCH_FILTER_ALLOW;
         caught = true;
       });
       if (prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_ON, 0, 0, &selector))
         skip("this kernel has no dispatch");
       return [] {
         selector = SYSCALL_DISPATCH_FILTER_BLOCK;
         syscall(SYS_getppid);
         CHECK(caught);
       };
     }},
    {"mount_namespace", [] { return in_namespace(CLONE_NEWNS); }},
    {"network_namespace_with_address",
     [] {
       return in_namespace(CLONE_NEWNET, [] {
         ifreq request{};
         strcpy(request.ifr_name, "lo");
         auto* address = reinterpret_cast<sockaddr_in*>(&request.ifr_addr);
         *address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK + 1)}};
         CHECK(ioctl(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), SIOCSIFADDR, &request) == 0);
       });
     }},
    {"network_namespace_with_interface",
     [] {
       return in_namespace(CLONE_NEWNET, [] {
         struct {
           nlmsghdr header;
           ifinfomsg info;
           char attributes[64];
         } request{};
         auto* name = reinterpret_cast<rtattr*>(request.attributes);
         *name = {.rta_len = RTA_LENGTH(4), .rta_type = IFLA_IFNAME};
         strcpy(static_cast<char*>(RTA_DATA(name)), "ks0");
         auto* link = reinterpret_cast<rtattr*>(request.attributes + RTA_SPACE(4));
         *link = {.rta_len = RTA_LENGTH(RTA_LENGTH(6)), .rta_type = IFLA_LINKINFO};
         auto* kind = static_cast<rtattr*>(RTA_DATA(link));
         *kind = {.rta_len = RTA_LENGTH(6), .rta_type = IFLA_INFO_KIND};
         memcpy(RTA_DATA(kind), "dummy", 6);
         request.header = {
             .nlmsg_len = static_cast<__u32>(NLMSG_LENGTH(sizeof(ifinfomsg)) + RTA_SPACE(4) + link->rta_len),
             .nlmsg_type = RTM_NEWLINK,
             .nlmsg_flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_ACK};
         int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
         char answer[512];
         CHECK(send(fd, &request, request.header.nlmsg_len, 0) > 0 && recv(fd, answer, sizeof answer, 0) > 0);
         if (reinterpret_cast<nlmsgerr*>(NLMSG_DATA(answer))->error) _exit(77);
         close(fd);
       });
     }},
    {"network_namespace_with_setting",
     [] { return in_namespace(CLONE_NEWNET, [] { set("/proc/sys/net/ipv4/ip_unprivileged_port_start", "7"); }); }},
    {"ipc_namespace_of_others",
     [] {
       if (unshare(CLONE_NEWIPC)) skip("no IPC namespaces");
       int id = semget(IPC_PRIVATE, 1, 0600);
       CHECK(id >= 0);
       target = fork_child(wait_until_told);
       Verify end = ends_well(target);
       return Verify([=] {
         end();
         CHECK(semctl(id, 0, GETVAL) == 0);
       });
     }},
    {"ipc_namespace_with_limits",
     [] { return in_namespace(CLONE_NEWIPC, [] { set("/proc/sys/kernel/msgmnb", "4711"); }); }},
    {"ipc_namespace_with_queue",
     [] {
       return in_namespace(CLONE_NEWIPC, [] {
         mqd_t queue = mq_open("/kernel-swap-test", O_RDWR | O_CREAT, 0600, nullptr);
         if (queue < 0) _exit(77);
         mq_close(queue);
       });
     }},
    {"user_namespace_with_limit",
     [] { return in_namespace(CLONE_NEWUSER, [] { set("/proc/sys/user/max_uts_namespaces", "3"); }); }},
    {"namespace_of_nobody",
     [] {
       int pipes[2];
       CHECK(pipe(pipes) == 0);
       pid_t child = fork();
       if (child == 0) {
         char apart = unshare(CLONE_NEWUTS) == 0;
         CHECK(write(pipes[1], &apart, 1) == 1);
         pause();
       }
       char apart;
       CHECK(read(pipes[0], &apart, 1) == 1);
       int fd = open(("/proc/" + std::to_string(child) + "/ns/uts").c_str(), O_RDONLY);
       CHECK(kill(child, SIGKILL) == 0 && waitpid(child, nullptr, 0) == child && close(pipes[0]) == 0 &&
             close(pipes[1]) == 0);
       if (!apart) skip("no namespaces");
       return keeps(fd);
     }},
    {"namespace_of_a_thread", [] { return waits_in_thread([] { CHECK(unshare(CLONE_NEWUTS) == 0); }); }},
    {"key_in_process_keyring",
     [] {
       if (syscall(SYS_add_key, "user", "kernel-swap-test", "x", 1, KEY_SPEC_PROCESS_KEYRING) < 0) skip("no keys");
       return finds_key("kernel-swap-test");
     }},
    {"key_in_session_keyring",
     [] {
       if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, 0) < 0) skip("no keys");
       CHECK(syscall(SYS_add_key, "user", "kernel-swap-test", "x", 1, KEY_SPEC_SESSION_KEYRING) > 0);
       return finds_key("kernel-swap-test");
     }},
    {"keyring_of_a_thread",
     [] {
       if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, 0) < 0) skip("no keys");
       return waits_in_thread([] { CHECK(syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, 0) > 0); });
     }},
    {"control_group_elsewhere",
     [] {
       std::string top = new_group().substr(0, group_path.rfind('/')), other = group_path + "-other";
       set((group_path + "/cgroup.procs").c_str(), std::to_string(getpid()).c_str());
       CHECK(mkdir(other.c_str(), 0700) == 0);
       pid_t child = in_group(other);
       return [=] {
         ends_well(child)();
         set((top + "/cgroup.procs").c_str(), std::to_string(getpid()).c_str());
         CHECK(rmdir(other.c_str()) == 0 && rmdir(group_path.c_str()) == 0);
       };
     }},
    {"control_group_with_controller",
     [] {
       group_path = "/sys/fs/cgroup/freezer/kernel-swap-test-" + std::to_string(getpid());
       if (mkdir(group_path.c_str(), 0700)) skip("no freezer of cgroup v1");
       return removes_group(in_group(group_path));
     }},
    {"control_group_with_controllers_below",
     [] {
       const std::string& path = new_group();
       std::string controllers(256, 0);
       int fd = open((path + "/cgroup.controllers").c_str(), O_RDONLY);
       ssize_t got = fd < 0 ? 0 : read(fd, controllers.data(), controllers.size());
       if (got <= 1) {
         rmdir(path.c_str());
         skip("no controllers of cgroup v2");
       }
       controllers.resize(controllers.find_first_of(" \n"));
       set((path + "/cgroup.subtree_control").c_str(), ("+" + controllers).c_str());
       std::string below = path + "/below";
       CHECK(mkdir(below.c_str(), 0700) == 0);
       return removes_group(in_group(below));
     }},
    {"cgroup_namespace", [] { return in_namespace(CLONE_NEWCGROUP); }},
    {"pid_namespace_from_outside",
     [] {
       if (unshare(CLONE_NEWPID)) skip("no PID namespaces");
       pid_t first = fork_child([] { pause(); });
       target = fork_child(wait_until_told);
       return [=] {
         ends_well(target)();
         CHECK(kill(first, SIGKILL) == 0 && waitpid(first, nullptr, 0) == first);
       };
     }},
    {"pid_namespace_with_others",
     [] {
       if (unshare(CLONE_NEWPID)) skip("no PID namespaces");
       target = fork_child([] { pause(); });
       pid_t other = fork_child(wait_until_told), first = target;
       return [=] {
         ends_well(other)();
         CHECK(kill(first, SIGKILL) == 0 && waitpid(first, nullptr, 0) == first);
       };
     }},
    {"pid_namespace_in_user_namespace_entered_twice",
     [] {
       return in_container([] {
         int own = open("/proc/self/ns/pid", O_RDONLY);
         CHECK(unshare(CLONE_NEWPID) == 0);
         pid_t first = fork_child([] { pause(); });
         int below = open("/proc/self/ns/pid_for_children", O_RDONLY);
         CHECK(first > 0 && own >= 0 && below >= 0);
         for (int space : {own, below}) {
           CHECK(setns(space, CLONE_NEWPID) == 0);
           fork_child([] { pause(); });
         }
         close(own);
         close(below);
       });
     }},
    {"pid_namespace_in_user_namespace_with_hidden_directory",
     [] {
       return in_container([] {
         fork_child([] {
           CHECK(mkdir("hidden", 0700) == 0 && chdir("hidden") == 0 && chmod(".", 0) == 0);
           pause();
         });
         while (access("hidden", X_OK) == 0 || errno != EACCES) usleep(1000);
       });
     }},
    {"pid_namespace_in_user_namespace_with_locked_memory",
     [] { return in_container([] { CHECK(mlock(map_memory(kPage), kPage) == 0); }); }},
    {"pid_namespace_of_a_thread",
     [] {
       return waits_in_thread([] {
         if (unshare(CLONE_NEWPID)) skip("no PID namespaces");
       });
     }},
    {"pid_namespace_that_has_ended",
     [] {
       if (unshare(CLONE_NEWPID)) skip("no PID namespaces");
       ends_well(fork_child([] {}))();
       return [] { CHECK(fork() == -1 && errno == ENOMEM); };
     }},
    {"pid_namespace_to_be_in_user_namespace",
     [] {
       if (unshare(CLONE_NEWUSER | CLONE_NEWPID)) skip("no user namespaces");
       return nothing();
     }},
    {"pid_namespace_with_limit",
     [] {
       int fd = open("/proc/sys/kernel/pid_max", O_RDONLY);
       char before[32]{}, after[32]{};
       CHECK(read(fd, before, 31) > 0);
       int fds[2];
       CHECK(pipe(fds) == 0);
       if (unshare(CLONE_NEWPID)) skip("no PID namespaces");
       pid_t first = fork_child([&] {
         // A new one has the largest there can be; where it has not, there is one for all.
         int own = open("/proc/sys/kernel/pid_max", O_RDWR);
         if (atoi(before) == 4194304 && own >= 0 && write(own, "4194303", 7) == 7) CHECK(write(fds[1], "x", 1) == 1);
         close(fds[0]);
         close(fds[1]);
         close(own);
         wait_until_told();
       });
       close(fds[1]);
       bool set = read(fds[0], after, 1) == 1;
       if (!set || pread(fd, after, 31, 0) <= 0 || strcmp(before, after) != 0) {
         if (set) {  // of all
           int all = open("/proc/sys/kernel/pid_max", O_RDWR);
           CHECK(write(all, before, strlen(before)) > 0);
         }
         skip("PID namespaces have no limit of their own");
       }
       close(fds[0]);
       close(fd);
       return ends_well(first);
     }},
    {"time_namespace_of_children",
     [] {
       if (unshare(CLONE_NEWTIME)) skip("no time namespaces");
       return nothing();
     }},
    {"traced",
     [] {
       target = fork_child(wait_until_told);
       CHECK(ptrace(PTRACE_SEIZE, target, 0, 0) == 0);
       return ends_well(target);
     }},
    {"shared_memory_of_cousins",
     [] {
       // Its parent has shared it too, until it called execve(2).
       static char stack[65536], stack_below[65536];
       int between = clone(
           [](void*) -> int {
             int below = clone(
                 [](void*) -> int {
                   while (!told()) usleep(1000);
                   return 0;
                 },
                 stack_below + sizeof stack_below, CLONE_VM | SIGCHLD, nullptr);
             CHECK(below > 0);
             execl("/proc/self/exe", "refused", "parent", nullptr);
             _exit(1);
           },
           stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD, nullptr);
       CHECK(between > 0);
       return ends_well(between);
     }},
    {"shared_memory_of_others", [] { return shares_with_target(CLONE_VM); }},
    {"shared_descriptors_of_others", [] { return shares_with_target(CLONE_FILES); }},
    {"shared_directories_of_others", [] { return shares_with_target(CLONE_FS); }},
    {"vfork_parent",
     [] {
       static int begun[2];
       CHECK(pipe(begun) == 0);
       target = fork_child([] {
         pid_t child = vfork();
         if (child == 0) {
           CHECK(write(begun[1], "x", 1) == 1);
           while (!told()) usleep(1000);
           _exit(0);
         }
         CHECK(child > 0 && waitpid(child, nullptr, 0) == child);
       });
       char byte;
       CHECK(read(begun[0], &byte, 1) == 1);
       return ends_well(target);
     }},
    {"shared_descriptors_of_cousins",
     [] {
       int fds[2];
       CHECK(pipe(fds) == 0);
       Verify one = shares(CLONE_FILES);
       pid_t other = static_cast<pid_t>(syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0));
       if (other == 0) {
         Verify cousin = shares(CLONE_FILES);
         CHECK(unshare(CLONE_FILES) == 0 && write(fds[1], "x", 1) == 1);
         close(fds[0]);
         close(fds[1]);
         cousin();
         _exit(0);
       }
       char byte;
       CHECK(unshare(CLONE_FILES) == 0 && read(fds[0], &byte, 1) == 1);
       close(fds[0]);
       close(fds[1]);
       return [=] {
         one();
         ends_well(other)();
       };
     }},
    {"descriptors_of_a_thread", [] { return waits_in_thread([] { CHECK(unshare(CLONE_FILES) == 0); }); }},
    {"no_main_stack",
     [] {
       auto* thread = new pthread_t;
       CHECK(pthread_create(
                 thread, nullptr,
                 [](void*) -> void* {
                   // The main thread waits in a call and needs its stack no more.
                   usleep(20'000);
                   FILE* maps = fopen("/proc/self/maps", "r");
                   char line[512];
                   unsigned long start, end;
                   while (fgets(line, sizeof line, maps))
                     if (strstr(line, "[stack]") && sscanf(line, "%lx-%lx", &start, &end) == 2) break;
                   fclose(maps);
                   CHECK(munmap(reinterpret_cast<void*>(start), end - start) == 0);
                   dprintf(STDOUT_FILENO, "target %d\n", getpid());
                   ready();
                   _exit(0);
                 },
                 nullptr) == 0);
       for (;;) pause();
       return nothing();
     }},
};

int main(int, char** arguments) {
  if (!strcmp(arguments[1], "parent")) {
    int status;
    CHECK(wait(&status) > 0);
    return status;
  }
  auto thing = kThings.find(arguments[1]);
  CHECK(thing != kThings.end());
  Verify verify = thing->second();
  dprintf(STDOUT_FILENO, "target %d\n", target ? target : getpid());
  ready();
  verify();
  return 0;
}
