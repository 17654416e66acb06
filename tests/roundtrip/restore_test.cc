// SPDX-License-Identifier: LGPL-2.1-or-later
// Restores into a world that has changed since the dump.
#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <linux/sched.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <thread>

#include "base/file.h"
#include "engine/kernel/proc.h"
#include "engine/kernel/socket_insides.h"
#include "engine_process.h"
#include "family.h"
#include "small_kernel.h"
#include "subject.h"

namespace ks::test {
namespace {

class Restore : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "must be run as root";
    become_reaper();
  }
  void start(const std::string& program, pid_t inside = 0, const std::vector<std::string>& arguments = {}) {
    subject_.emplace(place_, program, arguments, inside);
    ASSERT_EQ(subject_->await_ready(), "");
  }
  void dump(const DumpPlan& plan = {}) {
    Outcome outcome = EngineProcess::dump(subject_->pid(), image_, plan).wait();
    ASSERT_TRUE(outcome.done()) << outcome;
    forget_end(subject_->pid());
  }
  void expect_failure(const std::string& text, pid_t into = 0) {
    std::vector<pid_t> before = descendants(::getpid());
    Outcome outcome = EngineProcess::restore(image_, into).wait();
    EXPECT_EQ(outcome.end, Outcome::End::failed) << outcome;
    EXPECT_NE(outcome.text.find(text), std::string::npos) << outcome;
    // What was killed may take a moment to be gone.
    auto fresh = [&] {
      reap();
      auto pids = descendants(::getpid());
      std::erase_if(pids, [&](pid_t pid) { return std::ranges::find(before, pid) != before.end(); });
      return pids;
    };
    for (auto limit = std::chrono::steady_clock::now() + 5s;
         !fresh().empty() && std::chrono::steady_clock::now() < limit;)
      std::this_thread::sleep_for(1ms);
    EXPECT_EQ(fresh(), std::vector<pid_t>{});
  }
  void restore(pid_t into = 0) {
    forget_end(subject_->pid());  // of one that a failed restore has made
    Outcome outcome = EngineProcess::restore(image_, into).wait();
    ASSERT_TRUE(outcome.done()) << outcome;
  }
  void verify() {
    subject_->tell();
    EXPECT_EQ(subject_->await_success(), "");
  }

  Workplace place_;
  std::string image_ = place_.file("image");
  std::optional<Subject> subject_;
};

// A process of exactly this PID.
pid_t occupy(pid_t wanted) {
  clone_args arguments{.exit_signal = SIGCHLD, .set_tid = reinterpret_cast<uint64_t>(&wanted), .set_tid_size = 1};
  auto pid = static_cast<pid_t>(::syscall(SYS_clone3, &arguments, sizeof arguments));
  if (pid == 0)
    for (;;) ::pause();
  return pid;
}

class RestoreWatch : public Restore, public testing::WithParamInterface<bool> {};

TEST_F(Restore, OfRingsUnderAKernelWhoseFileTellsOfThem) {
  std::string types = read_file("/sys/kernel/btf/vmlinux").value_or("");
  if (types.empty()) GTEST_SKIP() << "this kernel has no BTF";
  start("io_uring");
  dump({.next_kernel = engine::kernel_of(engine::small_kernel("99.1.0", types), "kernel")});
  restore();
  verify();
}

// As of a unit with PrivatePIDs=, whose first process is the first one there.
TEST_F(Restore, NotOfASandboxWithAPidNamespace) {
  start("pid_namespaces");
  pid_t first = 0;
  for (pid_t pid : descendants(subject_->pid())) {
    auto text = read_file(fmt::format("/proc/{}/status", pid));
    auto status = text ? engine::parse_status(*text) : std::unexpected(text.error());
    if (status && status->ns_pids.size() == 2 && status->ns_pids[1] == 1) first = pid;
  }
  ASSERT_NE(first, 0);
  Outcome outcome = EngineProcess::dump(first, image_, {.leave_running = true, .foreign_namespaces = true}).wait();
  EXPECT_EQ(outcome.end, Outcome::End::refused) << outcome;
  EXPECT_NE(outcome.text.find("PrivatePIDs="), std::string::npos) << outcome;
  subject_->tell();
  EXPECT_EQ(subject_->await_success(), "");
}

// As after a boot: what lay below /run is gone.
TEST_F(Restore, SocketsWhoseDirectoriesAreGone) {
  start("unix_in_memory");
  dump();
  std::error_code none;
  ASSERT_GT(std::filesystem::remove_all(fmt::format("/dev/shm/kernel-swap-test-{}", subject_->pid()), none), 2u);
  restore();
  verify();
}

TEST_F(Restore, AFileThatIsReadThroughMemoryAndWrittenByOthers) {
  std::string log = place_.file("log");
  auto append = [&](char what) { std::ofstream(log, std::ios::app) << std::string(4096, what); };
  append('a');
  ASSERT_NO_FATAL_FAILURE(start("mapped_log", 0, {log}));
  dump();
  append('b');
  std::filesystem::rename(log, log + ".1");
  append('c');
  restore();
  verify();
}

TEST_F(Restore, WhatLiesInADirectoryThatABootEmpties) {
  std::string directory = place_.file("emptied");
  std::filesystem::create_directory(directory);
  ASSERT_NO_FATAL_FAILURE(start("emptied_directory", 0, {directory}));
  dump({.emptied = {directory}});
  ASSERT_GT(std::filesystem::remove_all(directory + "/own"), 5u);
  restore();
  verify();
}

// `made`: by somebody else, or else by the engine.
TEST_P(RestoreWatch, OfADirectoryThatABootMakesAnew) {
  std::string directory = fmt::format("/dev/shm/kernel-swap-test-{}", ::getpid());
  std::filesystem::create_directory(directory);
  ASSERT_NO_FATAL_FAILURE(start("watched_directory", 0, {directory}));
  dump({.made_anew = {"/dev/shm"}});
  std::filesystem::remove(directory);
  if (GetParam()) std::filesystem::create_directory(directory);
  restore();
  verify();
  EXPECT_FALSE(std::filesystem::exists(directory));
}
INSTANTIATE_TEST_SUITE_P(Made, RestoreWatch, testing::Bool());

TEST_F(Restore, MappedFilesOfADirectoryThatIsFilledAgain) {
  std::string directory = place_.file("filled"), copy = place_.file("copy");
  std::filesystem::create_directory(directory);
  start("refilled_files", 0, {directory});
  Outcome dumped = EngineProcess([&]() -> Result<> {
                     auto engine = TRY(engine::Engine::open());
                     auto frozen = TRY(engine.freeze({.root = subject_->pid()}));
                     auto report = frozen.dump(image_, {.refilled = {directory}});
                     if (!report && !frozen.verdict().ready()) return fail(to_string(frozen.verdict().reasons[0]));
                     TRY(std::move(report));
                     return frozen.kill();
                   }).wait();
  ASSERT_TRUE(dumped.done()) << dumped;
  forget_end(subject_->pid());
  ASSERT_EQ(::system(fmt::format("cp -a {0} {1} && rm -r {0} && mv {1} {0}", directory, copy).c_str()), 0);
  restore();
  verify();
}

// As of a .socket unit: systemd keeps them open, and hands them to the placeholder.
TEST_F(Restore, WithSocketsThatItIsPassed) {
  start("passed_sockets");
  pid_t starter = subject_->pid();
  auto children = descendants(starter);
  ASSERT_EQ(children.size(), 1u);
  auto dump = [&](const DumpPlan& plan) { return EngineProcess::dump(children[0], image_, plan).wait(); };
  Outcome refused = dump({.leave_running = true});
  EXPECT_EQ(refused.end, Outcome::End::refused) << refused;
  EXPECT_NE(refused.text.find(fmt::format("shared with pid {}", starter)), std::string::npos) << refused;
  for (int i = 0; i < 3; ++i) {
    Outcome left = dump({.leave_running = true, .starter = starter});
    ASSERT_TRUE(left.done()) << left;
    ASSERT_TRUE(remove_tree(image_));
    Outcome dumped = dump({.starter = starter});
    ASSERT_TRUE(dumped.done()) << dumped;
    if (i == 0) {
      Outcome alone = EngineProcess::restore(image_).wait();
      EXPECT_NE(alone.text.find("with which the service was started"), std::string::npos) << alone;
    }
    Outcome restored = EngineProcess::restore(image_, starter).wait();
    ASSERT_TRUE(restored.done()) << restored;
    ASSERT_TRUE(remove_tree(image_));
  }
  verify();
}

TEST_F(Restore, StopsThatHaveComeTwice) {
  start("stopped_twice");
  auto expect_two = [&] {
    for (pid_t child : descendants(subject_->pid())) {
      auto read_status = [&]() -> Result<engine::Status> {
        return engine::parse_status(TRY(read_file(fmt::format("/proc/{}/status", child))));
      };
      auto status = read_status();
      // One that has just been let go stops again when it gets a CPU.
      for (int i = 0; i < 1000 && status && status->state == 'R'; ++i, status = read_status()) ::usleep(1000);
      ASSERT_TRUE(status);
      EXPECT_EQ(status->state, 'T');
      EXPECT_TRUE(status->shared_pending >> (SIGSTOP - 1) & 1);
    }
  };
  expect_two();
  dump({.leave_running = true});
  ASSERT_TRUE(remove_tree(image_));
  expect_two();
  dump();
  ASSERT_TRUE(EngineProcess::restore(image_).wait().done());
  expect_two();
  subject_->tell();
  EXPECT_EQ(subject_->await_success(), "");
}

// Whom the target is connected with: greets who comes, and answers what is asked.
class Stranger {
 public:
  explicit Stranger(const Workplace& place) : place_(place) {
    listen_at(SOCK_STREAM, "stream");
    listen_at(SOCK_SEQPACKET, "packets");
  }
  ~Stranger() {
    ends_ = true;
    if (thread_.joinable()) thread_.join();
  }
  // The first of them accepts nobody.
  void begin() {
    thread_ = std::thread([this] {
      connect_to("server");
      connect_to("server");
      while (!ends_) serve();
    });
  }

 private:
  static sockaddr_un name_of(const std::string& path) {
    sockaddr_un address{.sun_family = AF_UNIX};
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    return address;
  }
  void listen_at(int type, const std::string& path) {
    sockaddr_un address = name_of(path);
    Fd fd(::socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    Fd here = open_file(".", O_PATH | O_DIRECTORY).value();
    EXPECT_EQ(::chdir(place_.path().c_str()), 0);
    EXPECT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(::fchdir(here.get()), 0);
    EXPECT_EQ(::listen(fd.get(), 4), 0);
    listeners_.push_back(std::move(fd));
  }
  void connect_to(const std::string& path) {
    Fd directory = open_file(place_.path(), O_PATH | O_DIRECTORY).value();
    sockaddr_un address = name_of(fmt::format("/proc/self/fd/{}/{}", directory.get(), path));
    Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    while (!ends_ && ::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address)) ::usleep(1000);
    connections_.push_back(std::move(fd));
  }
  void serve() {
    for (const Fd& listener : listeners_)
      if (Fd fd(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC)); fd) {
        bool greets = &listener == &listeners_.front();
        EXPECT_TRUE(!greets || ::send(fd.get(), "hello", 5, MSG_NOSIGNAL) == 5);
        connections_.push_back(std::move(fd));
      }
    char byte;
    for (const Fd& connection : connections_)
      if (::recv(connection.get(), &byte, 1, MSG_DONTWAIT) == 1) (void)::send(connection.get(), "!", 1, MSG_NOSIGNAL);
    ::usleep(1000);
  }

  const Workplace& place_;
  std::vector<Fd> listeners_, connections_;
  std::atomic<bool> ends_ = false;
  std::thread thread_;
};

TEST_F(Restore, ConnectionsThatLeadOutsideComeBackClosed) {
  Stranger stranger(place_);
  stranger.begin();
  ASSERT_NO_FATAL_FAILURE(start("external_sockets"));
  Outcome outcome = EngineProcess::dump(subject_->pid(), image_, {}).wait();
  EXPECT_EQ(outcome.end, Outcome::End::refused) << outcome;
  EXPECT_NE(outcome.text.find("stream, which no process of it has open; with ExternalSockets=reset"),
            std::string::npos)
      << outcome;
  // Each time what is closed already stays so.
  for (int i = 0; i < 5; ++i) {
    ASSERT_NO_FATAL_FAILURE(dump({.reset_external_sockets = true}));
    ASSERT_NO_FATAL_FAILURE(restore());
    ASSERT_TRUE(remove_tree(image_));
  }
  verify();
  EXPECT_NE(subject_->output().find("\nclosed\n"), std::string::npos) << subject_->output();
}

TEST_F(Restore, ConnectionsThatLeadOutsideStayOpenWhereItRunsOn) {
  Stranger stranger(place_);
  stranger.begin();
  ASSERT_NO_FATAL_FAILURE(start("external_sockets"));
  Outcome outcome = EngineProcess([&]() -> Result<> {
                      auto engine = TRY(engine::Engine::open());
                      auto frozen = TRY(engine.freeze({.root = subject_->pid()}));
                      TRY(frozen.examine({.reset_external_sockets = true}));
                      if (frozen.verdict().remarks.size() != 5) return fail("not all that is to be closed is named");
                      TRY(frozen.dump(image_, {.leave_running = true, .reset_external_sockets = true}));
                      std::string remarks;
                      for (const auto& remark : frozen.verdict().remarks) remarks += to_string(remark) + "\n";
                      return remarks.find("is connected to packets") != remarks.npos ? Result<>() : fail(remarks);
                    }).wait();
  ASSERT_TRUE(outcome.done()) << outcome;
  verify();
  EXPECT_NE(subject_->output().find("\nopen\n"), std::string::npos) << subject_->output();
}

// Messages without a byte are seen once by who looks without taking.
TEST_F(Restore, EmptyMessagesAreCarriedOrMissed) {
  subject_.emplace(place_, "unix_messages", std::vector<std::string>{"empty"});
  ASSERT_EQ(subject_->await_ready(), "");
  for (int i = 0; i < 3; ++i) {
    ASSERT_NO_FATAL_FAILURE(dump());
    ASSERT_NO_FATAL_FAILURE(restore());
    ASSERT_TRUE(remove_tree(image_));
  }
  ASSERT_NO_FATAL_FAILURE(dump({.leave_running = true}));
  ASSERT_TRUE(remove_tree(image_));
  Outcome outcome = EngineProcess::dump(subject_->pid(), image_, {}).wait();
  EXPECT_EQ(outcome.end, Outcome::End::refused) << outcome;
  // Those to a name are counted, where the kernel allows it.
  auto missed = std::ranges::count(outcome.text, '\n');
  EXPECT_TRUE(missed == 3 || (missed == 2 && !engine::look_into_sockets())) << outcome;
  EXPECT_NE(outcome.text.find("holds an empty message"), std::string::npos) << outcome;
  verify();
}

// systemd lets sockets take more datagrams than the kernel does by itself, and may not have done so yet.
TEST_F(Restore, MoreDatagramsThanANewSocketTakes) {
  constexpr char kMost[] = "/proc/sys/net/unix/max_dgram_qlen";
  Fd before = open_file("/proc/self/ns/net", O_RDONLY).value();
  if (::unshare(CLONE_NEWNET)) GTEST_SKIP() << "no network namespaces";
  EXPECT_TRUE(write_value(kMost, "50"));
  subject_.emplace(place_, "unix_messages", std::vector<std::string>{"many"});
  EXPECT_EQ(subject_->await_ready(), "");
  EXPECT_TRUE(write_value(kMost, "5"));
  if (!HasFailure()) dump();
  if (!HasFailure()) restore();
  EXPECT_EQ(read_file(kMost).value(), "5\n");
  if (!HasFailure()) verify();
  EXPECT_EQ(::setns(before.get(), CLONE_NEWNET), 0);
}

// As after a boot: they vanish with the last process and those who have made them.
TEST_F(Restore, ControlGroupsAreMadeAgain) {
  start("control_groups");
  dump();
  std::vector<std::filesystem::path> groups;
  std::error_code none;
  for (const char* top : {"/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd"})
    for (const auto& entry : std::filesystem::directory_iterator(top, none))
      if (entry.path().filename().string().starts_with(fmt::format("kernel-swap-test-{}", subject_->pid())))
        groups.push_back(entry.path());
  ASSERT_FALSE(groups.empty());
  for (const auto& group : groups) {
    ::rmdir((group / "inner").c_str());
    ASSERT_EQ(::rmdir(group.c_str()), 0) << group;
  }
  Outcome outcome = EngineProcess::restore(image_).wait();
  ASSERT_TRUE(outcome.done()) << outcome;
  subject_->tell();
  EXPECT_EQ(subject_->await_success(), "");
}

TEST_F(Restore, FailsWhileAPidIsTaken) {
  ASSERT_NO_FATAL_FAILURE(start("tree"));
  std::vector<pid_t> pids = descendants(subject_->pid());
  ASSERT_NO_FATAL_FAILURE(dump());
  for (pid_t taken : {subject_->pid(), pids.front(), pids.back()}) {
    reap();
    ASSERT_EQ(occupy(taken), taken);
    expect_failure(fmt::format("pid {} is taken", taken));
    ::kill(taken, SIGKILL);
    ASSERT_TRUE(await_end(taken, 5s));
  }
  ASSERT_NO_FATAL_FAILURE(restore());
  verify();
}

TEST_F(Restore, FailsWhileAFileIsMissingOrAnother) {
  ASSERT_NO_FATAL_FAILURE(start("files"));
  ASSERT_NO_FATAL_FAILURE(dump());
  std::filesystem::rename(place_.file("appender"), place_.file("away"));
  expect_failure("/appender: No such file or directory");
  std::filesystem::copy_file(place_.file("away"), place_.file("appender"));
  expect_failure("/appender");
  std::filesystem::rename(place_.file("away"), place_.file("appender"));
  ASSERT_NO_FATAL_FAILURE(restore());
  verify();
}

TEST_F(Restore, FailsWithoutTheWorkingDirectory) {
  ASSERT_NO_FATAL_FAILURE(start("directories"));
  ASSERT_NO_FATAL_FAILURE(dump());
  std::filesystem::rename(place_.file("top/inside"), place_.file("top/away"));
  expect_failure("/top/inside: ");
  std::filesystem::rename(place_.file("top/away"), place_.file("top/inside"));
  ASSERT_NO_FATAL_FAILURE(restore());
  verify();
}

// The first segment of all has the number 0.
TEST_F(Restore, OfTheFirstSystemVMemoryOfANamespace) {
  Fd before = open_file("/proc/self/ns/ipc", O_RDONLY).value();
  if (::unshare(CLONE_NEWIPC)) GTEST_SKIP() << "no IPC namespace can be made";
  start("system_v_memory");
  if (!HasFatalFailure()) dump();
  if (!HasFatalFailure()) restore();
  if (!HasFatalFailure()) verify();
  EXPECT_EQ(::setns(before.get(), CLONE_NEWIPC), 0);
}

// As an upgrade of its package does.
TEST_F(Restore, OfAnExecutableThatWasReplaced) {
  std::string copy = place_.file("copy");
  std::filesystem::copy_file(std::string(TEST_PROGRAMS) + "/threads", copy);
  ASSERT_NO_FATAL_FAILURE(start(copy));
  ASSERT_NO_FATAL_FAILURE(dump());
  std::filesystem::copy_file(std::string(TEST_PROGRAMS) + "/tree", place_.file("newer"));
  std::filesystem::rename(place_.file("newer"), copy);
  ASSERT_NO_FATAL_FAILURE(restore());
  verify();
}

TEST_F(Restore, OfAnExecutableThatWasReplacedAndNotPinned) {
  std::string copy = place_.file("copy");
  std::filesystem::copy_file(std::string(TEST_PROGRAMS) + "/threads", copy);
  ASSERT_NO_FATAL_FAILURE(start(copy));
  ASSERT_NO_FATAL_FAILURE(dump());
  for (const auto& entry : std::filesystem::directory_iterator(image_))
    if (entry.path().filename().string().starts_with("pin-")) std::filesystem::remove(entry.path());
  std::filesystem::rename(copy, place_.file("away"));
  std::filesystem::copy_file(std::string(TEST_PROGRAMS) + "/tree", copy);
  expect_failure("/copy");
  std::filesystem::rename(place_.file("away"), copy);
  ASSERT_NO_FATAL_FAILURE(restore());
  verify();
}

// Inode, size and time stay what they were; the build id does not.
TEST_F(Restore, FailsWhileAnExecutableIsWrittenOver) {
  std::string copy = place_.file("copy");
  std::filesystem::copy_file(std::string(TEST_PROGRAMS) + "/threads", copy);
  ASSERT_NO_FATAL_FAILURE(start(copy));
  ASSERT_NO_FATAL_FAILURE(dump());
  std::string content = read_file(copy).value();
  size_t at = content.find(std::string_view("\3\0\0\0GNU\0", 8));  // NT_GNU_BUILD_ID and the name
  if (at == std::string::npos) GTEST_SKIP() << "the program was built without a build id";
  auto change = [&](char byte) {
    Fd fd = open_file(copy, O_WRONLY).value();
    struct stat facts{};
    ::fstat(fd.get(), &facts);
    EXPECT_EQ(::pwrite(fd.get(), &byte, 1, static_cast<off_t>(at + 8)), 1);
    timespec times[] = {facts.st_atim, facts.st_mtim};
    ::futimens(fd.get(), times);
  };
  change(static_cast<char>(~content[at + 8]));
  expect_failure("/copy: not the file that was mapped");
  change(content[at + 8]);
  ASSERT_NO_FATAL_FAILURE(restore());
  verify();
}

TEST_F(Restore, MakesFifosInMemoryAnew) {
  ASSERT_NO_FATAL_FAILURE(start("fifos"));
  ASSERT_NO_FATAL_FAILURE(dump());
  std::string directory = fmt::format("/dev/shm/kernel-swap-fifo-{}", subject_->pid());
  ASSERT_GT(std::filesystem::remove_all(directory), 1u);
  ASSERT_NO_FATAL_FAILURE(restore());
  verify();
  EXPECT_FALSE(std::filesystem::exists(directory));
}

TEST_F(Restore, IsForgottenIfTheCallerSaysSo) {
  ASSERT_NO_FATAL_FAILURE(start("tree"));
  ASSERT_NO_FATAL_FAILURE(dump());
  Outcome outcome = EngineProcess([&]() -> Result<> {
                      auto engine = TRY(engine::Engine::open());
                      TRY(engine.restore(image_, {.before_thaw = [] { return fail("not now"); }}));
                      return {};
                    }).wait();
  EXPECT_EQ(outcome.text, "not now");
  reap();
  EXPECT_TRUE(descendants(::getpid()).empty());
  ASSERT_NO_FATAL_FAILURE(restore());
  verify();
}

// A control group of cgroup v2, empty when it goes.
class Group {
 public:
  Group() {
    for (const char* top : {"/sys/fs/cgroup/unified", "/sys/fs/cgroup"}) {
      std::string name = std::string(top) + "/kernel-swap-test-XXXXXX";
      if (::access((std::string(top) + "/cgroup.procs").c_str(), F_OK) || !::mkdtemp(name.data())) continue;
      path_ = name;
      return;
    }
  }
  ~Group() {
    kill_descendants();
    if (path_.empty()) return;
    remove_below();
    ::rmdir(path_.c_str());
  }
  const std::string& path() const { return path_; }
  bool add(const char* name) const { return ::mkdir((path_ + "/" + name).c_str(), 0755) == 0; }
  bool has(const char* name) const { return ::access((path_ + "/" + name).c_str(), F_OK) == 0; }
  void remove_below() const {
    for (const char* name : {"/below", "/empty"}) ::rmdir((path_ + name).c_str());
  }

 private:
  std::string path_;
};

Outcome examine(const std::string& group) {
  return EngineProcess([&]() -> Result<> {
           auto engine = TRY(engine::Engine::open());
           TRY(TRY(engine.freeze({.cgroup = group})).examine({}));
           return {};
         })
      .wait();
}

// As a service whose processes have been left by the one that forked them, with groups of its own (Delegate=).
TEST_F(Restore, OfAGroupWithSeveralTrees) {
  Group group;
  if (group.path().empty()) GTEST_SKIP() << "no control group can be made";
  ASSERT_TRUE(group.add("below") && group.add("empty"));
  std::vector<std::unique_ptr<Workplace>> places;
  std::vector<std::unique_ptr<Subject>> subjects;
  std::map<pid_t, std::string> groups;
  for (const char* program : {"tree", "threads", "pipes"}) {
    places.push_back(std::make_unique<Workplace>());
    subjects.push_back(std::make_unique<Subject>(*places.back(), program));
    ASSERT_EQ(subjects.back()->await_ready(), "");
    std::vector<pid_t> pids = descendants(subjects.back()->pid());
    pids.push_back(subjects.back()->pid());
    for (pid_t pid : pids) {
      bool below = program == std::string_view("threads");
      auto moved = write_value(group.path() + (below ? "/below" : "") + "/cgroup.procs", std::to_string(pid));
      if (!moved) GTEST_SKIP() << moved.error().what;
      groups[pid] = read_file(fmt::format("/proc/{}/cgroup", pid)).value();
    }
  }
  // What the unit has set for itself systemd does not set again.
  ASSERT_TRUE(write_value(group.path() + "/cgroup.max.depth", "5"));
  Outcome refused = examine(group.path());
  EXPECT_EQ(refused.end, Outcome::End::refused) << refused;
  EXPECT_NE(refused.text.find("cgroup.max.depth"), std::string::npos) << refused;
  ASSERT_TRUE(write_value(group.path() + "/cgroup.max.depth", "max"));
  for (bool leave_running : {true, false}) {
    Outcome outcome = EngineProcess([&]() -> Result<> {
                        auto engine = TRY(engine::Engine::open());
                        auto frozen = TRY(engine.freeze({.cgroup = group.path()}));
                        TRY(frozen.dump(image_, {.leave_running = leave_running}));
                        if (leave_running) return remove_tree(image_);
                        return frozen.kill();
                      }).wait();
    ASSERT_TRUE(outcome.done()) << outcome;
  }
  for (const auto& subject : subjects) forget_end(subject->pid());
  group.remove_below();
  Outcome outcome = EngineProcess([&]() -> Result<> {
                      auto engine = TRY(engine::Engine::open());
                      auto report = TRY(engine.restore(image_, {.cgroup = group.path()}));
                      for (const auto& subject : subjects)
                        if (std::ranges::find(report.roots, subject->pid()) == report.roots.end())
                          return fail("a root is missing");
                      return {};
                    }).wait();
  ASSERT_TRUE(outcome.done()) << outcome;
  EXPECT_TRUE(group.has("empty"));
  for (const auto& [pid, before] : groups) EXPECT_EQ(read_file(fmt::format("/proc/{}/cgroup", pid)).value(), before);
  for (const auto& subject : subjects) {
    subject->tell();
    EXPECT_EQ(subject->await_success(), "");
  }
}

// A sandbox as systemd makes it: mounts, a host name, users, a network and IPC objects of its own.
class Sandbox {
 public:
  Sandbox(const std::string& mount_point, bool with_mount, const char* users = "0 0 1\n1000 1000 10\n") {
    int fds[2];
    if (::pipe2(fds, O_CLOEXEC)) return;
    Fd reader(fds[0]), writer(fds[1]);
    pid_ = ::fork();
    if (pid_ == 0) {
      if (::unshare(CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET) ||
          ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr))
        ::_exit(1);
      if (with_mount && ::mount("tmpfs", mount_point.c_str(), "tmpfs", 0, "size=1m")) ::_exit(1);
      // Nothing can be written to, but for what is open already.
      std::string place = std::filesystem::path(mount_point).parent_path();
      if (!place.empty() && (::mount(place.c_str(), place.c_str(), nullptr, MS_BIND | MS_REC, nullptr) ||
                             ::mount(nullptr, place.c_str(), nullptr, MS_BIND | MS_REMOUNT | MS_RDONLY, nullptr)))
        ::_exit(1);
      if (with_mount) ::close(::open((mount_point + "/inside").c_str(), O_CREAT | O_WRONLY, 0600));
      ifreq loopback{.ifr_ifrn = {"lo"}, .ifr_ifru = {.ifru_flags = IFF_UP}};
      if (::sethostname("sandbox", 7) || ::ioctl(::socket(AF_INET, SOCK_DGRAM, 0), SIOCSIFFLAGS, &loopback) ||
          ::unshare(CLONE_NEWUSER))
        ::_exit(1);
      (void)!::write(writer.get(), "x", 1);
      for (;;) ::pause();
    }
    writer = Fd();
    char byte;
    good_ = ::read(reader.get(), &byte, 1) == 1;
    for (const char* map : {"uid_map", "gid_map"})
      good_ = good_ && write_value(fmt::format("/proc/{}/{}", pid_, map), users);
  }
  ~Sandbox() {
    ::kill(pid_, SIGKILL);
    (void)await_end(pid_, 5s);
  }
  pid_t pid() const { return pid_; }
  bool good() const { return good_; }

 private:
  pid_t pid_ = 0;
  bool good_ = false;
};

TEST_F(Restore, IntoASandboxThatIsMadeAnew) {
  std::string mount_point = place_.file("mounted");
  std::filesystem::create_directory(mount_point);
  {
    Sandbox sandbox(mount_point, true);
    if (!sandbox.good()) GTEST_SKIP() << "no mount namespaces";
    ASSERT_NO_FATAL_FAILURE(start("threads", sandbox.pid()));
    Outcome outcome = EngineProcess::dump(subject_->pid(), image_, {.leave_running = true}).wait();
    EXPECT_EQ(outcome.end, Outcome::End::refused) << outcome;
    ASSERT_NO_FATAL_FAILURE(dump({.foreign_namespaces = true}));
  }
  {
    Sandbox bare(mount_point, false);
    expect_failure(mount_point + ": the tmpfs mount that the processes had is missing", bare.pid());
  }
  {
    Sandbox other(mount_point, true, "0 0 1\n");
    expect_failure("user namespace: does not have the users and groups", other.pid());
  }
  Sandbox again(mount_point, true);
  ASSERT_NO_FATAL_FAILURE(restore(again.pid()));
  for (const char* space : {"ns/mnt", "ns/uts", "ns/ipc", "ns/net", "ns/user", "root"})
    EXPECT_EQ(read_link(fmt::format("/proc/{}/{}", subject_->pid(), space)).value(),
              read_link(fmt::format("/proc/{}/{}", again.pid(), space)).value());
  EXPECT_TRUE(std::filesystem::exists(fmt::format("/proc/{}/root/{}/inside", subject_->pid(), mount_point)));
  subject_->tell();
  EXPECT_EQ(subject_->await_success(), "");
}

// What the sandbox does not have any more, the processes made for themselves.
TEST_F(Restore, OfASandboxThatIsGone) {
  {
    Sandbox sandbox("", false);
    if (!sandbox.good()) GTEST_SKIP() << "no namespaces";
    ASSERT_NO_FATAL_FAILURE(start("threads", sandbox.pid()));
    ASSERT_NO_FATAL_FAILURE(dump({.foreign_namespaces = true}));
  }
  ASSERT_NO_FATAL_FAILURE(restore());
  for (const char* space : {"uts", "ipc", "net", "user"})
    EXPECT_NE(read_link(fmt::format("/proc/{}/ns/{}", subject_->pid(), space)).value(),
              read_link(fmt::format("/proc/self/ns/{}", space)).value());
  EXPECT_EQ(read_file(fmt::format("/proc/{}/uid_map", subject_->pid())).value(),
            "         0          0          1\n      1000       1000         10\n");
  verify();
}

}  // namespace
}  // namespace ks::test
