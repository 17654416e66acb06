// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/run_files.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>

#include "base/file.h"

namespace ks::upgrade {
namespace {

namespace fs = std::filesystem;

constexpr uid_t kUser = 54321;  // nobody's

// A process that has something below the test's /run, for as long as it lives.
class Somebody {
 public:
  explicit Somebody(const std::function<bool()>& settle) {
    int told[2];
    EXPECT_EQ(::pipe2(told, O_CLOEXEC), 0);
    pid_ = ::fork();
    if (pid_ == 0) {
      char word = settle() ? 'y' : 'n';
      (void)!::write(told[1], &word, 1);
      for (;;) ::pause();
    }
    char word = 0;
    EXPECT_EQ(::read(told[0], &word, 1), 1);
    EXPECT_EQ(word, 'y');
    ::close(told[0]);
    ::close(told[1]);
  }
  ~Somebody() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  pid_t pid() const { return pid_; }

 private:
  pid_t pid_;
};

bool bind_to(const std::string& path) {
  sockaddr_un address{.sun_family = AF_UNIX};
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
  return fd >= 0 && ::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
}

class RunFilesTest : public testing::Test {
 protected:
  // The whole test program leaves the machine's mounts, once.
  static void SetUpTestSuite() {
    ASSERT_EQ(::unshare(CLONE_NEWNS), 0);
    ASSERT_EQ(::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr), 0);
  }
  void SetUp() override {
    ASSERT_TRUE(::mkdtemp(run_.data()));
    ASSERT_EQ(::mount("none", run_.c_str(), "tmpfs", 0, "mode=0755"), 0);
    unit_.name = "a.service";
  }
  void TearDown() override {
    ::umount2(run_.c_str(), MNT_DETACH);
    fs::remove(run_);
  }

  std::string at(const std::string& path) const { return run_ + "/" + path; }
  void directory(const std::string& path) const { fs::create_directories(at(path)); }
  void file(const std::string& path, const std::string& text = "x\n") const {
    fs::create_directories(fs::path(at(path)).parent_path());
    std::ofstream(at(path)) << text;
  }
  void pid_file(const std::string& path, const Somebody& whose) const {
    file(path, std::to_string(whose.pid()) + "\n");
  }
  std::function<bool()> socket_at(const std::string& path) const {
    return [this, path] { return bind_to(at(path)); };
  }
  static std::function<bool()> nothing() {
    return [] { return true; };
  }

  RunFiles look(const std::set<pid_t>& pids) {
    auto survey = survey_run(run_);
    EXPECT_TRUE(survey) << survey.error().what;
    files_ = find_run_files(*survey, claims_, unit_, pids, wishes_);
    return files_;
  }
  // "a", "b/some.pid": what comes back; and then what is said to stay.
  std::string told(const std::set<pid_t>& pids) {
    std::string text;
    auto short_form = [&](std::string path) {
      for (size_t found; (found = path.find(run_ + "/")) != std::string::npos;) path.erase(found, run_.size() + 1);
      return path;
    };
    RunFiles files = look(pids);
    for (const std::string& path : files.paths()) text += short_form(path) + "\n";
    for (const auto& remark : files.remarks) text += short_form(to_string(remark)) + "\n";
    return text;
  }
  // As a boot and a restore would do it.
  void save_and_load() {
    std::string store = "/var/tmp/ks-run-store-XXXXXX";
    ASSERT_TRUE(::mkdtemp(store.data()));
    std::string copies = store + "/places";
    auto saved = save_places(files_.places, ::getpid(), copies);
    ASSERT_TRUE(saved) << saved.error().what;
    ASSERT_EQ(::umount2(run_.c_str(), MNT_DETACH), 0);
    ASSERT_EQ(::mount("none", run_.c_str(), "tmpfs", 0, "mode=0711"), 0);
    if (before_load_) before_load_();
    found_ = find_there(*saved, ::getpid(), copies).value();
    auto kept = load_places(*saved, ::getpid(), copies, failed_);
    ASSERT_TRUE(kept) << kept.error().what;
    kept_ = *kept;
    if (unload_) {
      auto unloaded = unload_places(*saved, ::getpid(), copies, found_);
      EXPECT_TRUE(unloaded) << unloaded.error().what;
    }
    fs::remove_all(store);
  }
  std::vector<std::string> everything() const {
    std::vector<std::string> all;
    for (const auto& entry : fs::recursive_directory_iterator(run_))
      all.push_back(entry.path().string().substr(run_.size() + 1));
    std::ranges::sort(all);
    return all;
  }
  struct stat facts(const std::string& path) const {
    struct stat stat{};
    EXPECT_EQ(::lstat(at(path).c_str(), &stat), 0) << path;
    return stat;
  }

  std::string run_ = "/var/tmp/ks-run-XXXXXX";
  UnitState unit_;
  std::vector<ServiceClaim> claims_;
  RunWishes wishes_;
  RunFiles files_;
  std::function<void()> before_load_;
  bool unload_ = false;
  std::vector<FoundThere> found_;
  std::vector<std::string> kept_, failed_;
};

TEST_F(RunFilesTest, OfWhoHasASocketThere) {
  directory("a/inner");
  Somebody own(socket_at("a/socket"));
  file("a/state");
  EXPECT_EQ(told({own.pid()}), "a\n");
  EXPECT_EQ(told({::getpid()}), "");
}

TEST_F(RunFilesTest, OfWhoWritesThereOrLivesThere) {
  file("a/log");
  directory("b/home");
  file("c/read");
  Somebody own([this] {
    return ::open(at("a/log").c_str(), O_WRONLY) >= 0 && ::open(at("c/read").c_str(), O_RDONLY) >= 0 &&
           ::chdir(at("b/home").c_str()) == 0;
  });
  EXPECT_EQ(told({own.pid()}), "a\nb\n");
}

TEST_F(RunFilesTest, OfWhomAPidFileTells) {
  Somebody own(nothing());
  pid_file("a/a.pid", own);
  file("a/state");
  pid_file("alone.pid", own);
  file("beside.pid", "1\n");
  file("b/lock", fmt::format("         {}\n/var/lib/b\n", own.pid()));
  file("c/no", fmt::format("{} and more\n", own.pid()));
  EXPECT_EQ(told({own.pid()}), "alone.pid\na\nb\n");
}

TEST_F(RunFilesTest, OfItsUserIfNobodyElseIsThat) {
  directory("a");
  file("state");
  ASSERT_EQ(::chown(at("a").c_str(), kUser, 0), 0);
  ASSERT_EQ(::chown(at("state").c_str(), kUser, 0), 0);
  auto become = [] { return ::setresuid(kUser, kUser, kUser) == 0; };
  Somebody own(become);
  EXPECT_EQ(told({own.pid()}), "");
  claims_ = {{.unit = unit_.name, .user = std::to_string(kUser), .pid_file = "", .runtime_directories = {}}};
  EXPECT_EQ(told({own.pid()}), "state\na\n");
  claims_.push_back(claims_[0]);
  claims_[1].unit = "b.service";
  EXPECT_EQ(told({own.pid()}), "");
  claims_.pop_back();
  EXPECT_EQ(told({own.pid()}), "state\na\n");
  Somebody other(become);
  EXPECT_EQ(told({own.pid()}), "");
}

TEST_F(RunFilesTest, NotOfSeveral) {
  directory("a");
  Somebody own(socket_at("a/own")), other(socket_at("a/other"));
  pid_file("a/own.pid", own);
  pid_file("a/other.pid", other);
  file("a/state");
  EXPECT_EQ(told({own.pid()}),
            fmt::format("a/own.pid\na: state will not be there again, for a/other is pid {}'s, which "
                        "is not part of the service; see CarryPaths= in kernel-swap-mark(5)\n",
                        other.pid()));
}

TEST_F(RunFilesTest, NotBesideAPidFileOfAnother) {
  directory("a");
  Somebody own(socket_at("a/own")), other(nothing());
  pid_file("a/other.pid", other);
  EXPECT_EQ(told({own.pid()}), "");
}

TEST_F(RunFilesTest, SomebodyWhoReadsOrStandsThereDoesNotMatter) {
  directory("a");
  Somebody own(socket_at("a/own"));
  file("a/state");
  Somebody other([this] { return ::chdir(at("a").c_str()) == 0 && ::open(at("a/state").c_str(), O_RDONLY) >= 0; });
  EXPECT_EQ(told({own.pid()}), "a\n");
}

TEST_F(RunFilesTest, ASocketThatItWasHandedIsItsOwn) {
  directory("a");
  ASSERT_TRUE(bind_to(at("a/socket")));  // and the child has it too
  Somebody own(nothing());
  EXPECT_EQ(told({own.pid()}), "a\n");
}

TEST_F(RunFilesTest, NotWhatAnotherUnitNames) {
  directory("a/inner");
  Somebody own(socket_at("a/socket"));
  file("a/state");
  ServiceClaim other{.unit = "b.service", .user = "", .pid_file = "", .runtime_directories = {"a/inner"}};
  claims_ = {other};
  EXPECT_TRUE(
      told({own.pid()})
          .starts_with("a: inner, state will not be there again, for a/inner is RuntimeDirectory= of b.service"));
  claims_ = {{.unit = "b.service", .user = "", .pid_file = at("a/b.pid"), .runtime_directories = {}}};
  EXPECT_TRUE(
      told({own.pid()}).starts_with("a: inner, state will not be there again, for a/b.pid is PIDFile= of b.service"));
}

TEST_F(RunFilesTest, NotWhereFilesOfOtherUsersLie) {
  directory("a/inner");
  Somebody own(socket_at("a/socket"));
  file("a/state");
  file("a/inner/other");
  ASSERT_EQ(::chown(at("a/socket").c_str(), kUser, 0), 0);
  EXPECT_EQ(told({own.pid()}), "a\n");
  ASSERT_EQ(::chown(at("a/inner/other").c_str(), kUser, 0), 0);
  EXPECT_TRUE(
      told({own.pid()}).starts_with("a: inner, state will not be there again, for a/inner/other belongs to user"));
}

TEST_F(RunFilesTest, WhatIsEverybodysIsNobodys) {
  directory("lock");
  ASSERT_EQ(::mount("none", at("lock").c_str(), "tmpfs", 0, "mode=1777"), 0);
  directory("lock/own");
  directory("open");
  ASSERT_EQ(::chmod(at("open").c_str(), 01777), 0);
  Somebody own([this] {
    return bind_to(at("lock/socket")) && bind_to(at("open/socket")) && bind_to(at("socket")) &&
           bind_to(at("lock/own/socket"));
  });
  file("lock/state");
  file("open/state");
  file("state");
  pid_file("lock/LCK..ttyS0", own);
  EXPECT_EQ(told({own.pid()}),
            "lock/LCK..ttyS0\nlock/own\nopen: state will not be there again, for anybody may write there; see "
            "CarryPaths= in kernel-swap-mark(5)\n");
}

TEST_F(RunFilesTest, ADirectoryOfItsOwnInOneOfOthers) {
  directory("shared/own");
  Somebody own(socket_at("shared/own/socket")), other(socket_at("shared/socket"));
  file("shared/state");
  EXPECT_EQ(told({own.pid()}), "shared/own\n");
  save_and_load();
  EXPECT_EQ(everything(), (std::vector<std::string>{"shared", "shared/own", "shared/own/socket"}));
}

TEST_F(RunFilesTest, NotWhatSystemdMakesAnew) {
  directory("a/inner");
  Somebody own([this] { return bind_to(at("a/inner/socket")) && bind_to(at("a/socket")); });
  unit_.runtime_directories = {"a"};
  EXPECT_EQ(told({own.pid()}), "");
  unit_.runtime_directories = {"a/inner"};
  EXPECT_EQ(told({own.pid()}), "a\n");
  save_and_load();
  EXPECT_EQ(everything(), (std::vector<std::string>{"a", "a/socket"}));
}

TEST_F(RunFilesTest, AsTheMarkSays) {
  file("a/state");
  directory("b/left");
  Somebody own(socket_at("b/socket"));
  pid_file("b/left/own.pid", own);
  directory("lock");
  file("some", "state");
  wishes_ = {.carry = {at("a"), at("none"), at("lock"), at("some")}, .leave = {at("b/left")}};
  EXPECT_EQ(told({own.pid()}),
            "some\na\nb\nnone: CarryPaths= in the mark: there is no such file below /run\n"
            "lock: CarryPaths= in the mark: it is everybody's, and stays\n");
  save_and_load();
  EXPECT_EQ(everything(), (std::vector<std::string>{"a", "a/state", "b", "b/socket", "some"}));
}

TEST_F(RunFilesTest, APidFileOfAProcessThatHasEndedStays) {
  directory("a");
  Somebody own(socket_at("a/socket"));
  pid_t ended;
  {
    ended = Somebody(nothing()).pid();
  }
  file("a/old.pid", std::to_string(ended));
  file("a/number", std::to_string(ended));
  EXPECT_EQ(told({own.pid()}),
            fmt::format("a\na/old.pid: will not be there again: pid {} is no process of the service\n", ended));
  save_and_load();
  EXPECT_EQ(everything(), (std::vector<std::string>{"a", "a/number", "a/socket"}));
}

TEST_F(RunFilesTest, PidFileOfTheUnitWhereverItLies) {
  file("a/any", "nothing of a PID\n");
  file("a/other");
  ASSERT_EQ(::chmod(at("a").c_str(), 0751), 0);
  ASSERT_EQ(::chmod(at("a/any").c_str(), 0640), 0);
  fs::create_directory_symlink("a", at("link"));
  unit_.pid_file = at("link/any");
  EXPECT_EQ(told({::getpid()}), "a/any\n");
  save_and_load();
  EXPECT_EQ(everything(), (std::vector<std::string>{"a", "a/any"}));
  EXPECT_EQ(*read_file(at("a/any")), "nothing of a PID\n");
  EXPECT_EQ(facts("a").st_mode & 07777, 0751u);
  EXPECT_EQ(facts("a/any").st_mode & 07777, 0640u);
  fs::remove(at("a/any"));
  fs::create_symlink("other", at("a/any"));
  EXPECT_EQ(told({::getpid()}), "");
}

TEST_F(RunFilesTest, ComesBackAsItWas) {
  directory("a/empty");
  Somebody own(socket_at("a/socket"));
  pid_file("a/own.pid", own);
  pid_file("own.pid", own);
  fs::create_hard_link(at("a/own.pid"), at("a/same"));
  fs::create_symlink("/etc/passwd", at("a/link"));
  ASSERT_EQ(::mkfifo(at("a/fifo").c_str(), 0620), 0);
  ASSERT_EQ(::chown(at("a/own.pid").c_str(), 0, 4711), 0);
  timespec times[] = {{1, 2}, {3, 4}};
  ASSERT_EQ(::utimensat(AT_FDCWD, at("own.pid").c_str(), times, 0), 0);
  ASSERT_EQ(::chmod(at("a").c_str(), 0751), 0);
  EXPECT_EQ(told({own.pid()}), "own.pid\na\n");
  save_and_load();
  EXPECT_EQ(everything(), (std::vector<std::string>{"a", "a/empty", "a/fifo", "a/link", "a/own.pid", "a/same",
                                                    "a/socket", "own.pid"}));
  EXPECT_EQ(facts("a/own.pid").st_ino, facts("a/same").st_ino);
  EXPECT_EQ(facts("a/own.pid").st_gid, 4711u);
  EXPECT_EQ(facts("own.pid").st_mtim.tv_nsec, 4);
  EXPECT_EQ(facts("a").st_mode & 07777, 0751u);
  EXPECT_EQ(facts("").st_mode & 07777, 0711u) << "/run itself is not ours";
}

TEST_F(RunFilesTest, WhatIsThereAlreadyStays) {
  directory("a");
  Somebody own(socket_at("a/socket"));
  pid_file("a/own.pid", own);
  pid_file("own.pid", own);
  look({own.pid()});
  before_load_ = [this] {
    file("a/own.pid", "another\n");
    file("own.pid", "another\n");
  };
  save_and_load();
  EXPECT_EQ(kept_, (std::vector<std::string>{at("own.pid"), at("a/own.pid")}));
  EXPECT_EQ(*read_file(at("own.pid")), "another\n");
}

TEST_F(RunFilesTest, NothingIsLeftForAColdStart) {
  directory("shared/own");
  directory("a/inner");
  Somebody own([this] { return bind_to(at("shared/own/socket")) && bind_to(at("a/inner/socket")); });
  Somebody other(socket_at("shared/other"));
  pid_file("own.pid", own);
  pid_file("a/own.pid", own);
  file("a/theirs");
  look({own.pid()});
  unload_ = true;
  before_load_ = [this] { file("a/theirs", "another\n"); };
  save_and_load();
  EXPECT_EQ(everything(), (std::vector<std::string>{"a", "a/theirs"}));
  EXPECT_EQ(*read_file(at("a/theirs")), "another\n");
}

TEST_F(RunFilesTest, LinksThatAServiceHasPutInTheWayAreNotFollowed) {
  directory("a");
  Somebody own(socket_at("a/socket"));
  Somebody shared(nothing());
  pid_file("own.pid", own);
  look({own.pid()});
  std::string outside = run_ + "-outside";
  fs::create_directory(outside);
  fs::remove_all(at("a"));
  fs::create_directory_symlink(outside, at("a"));
  auto saved = save_places(files_.places, ::getpid(), outside + "/places");
  EXPECT_FALSE(saved);
  fs::remove_all(outside);
}

}  // namespace
}  // namespace ks::upgrade
