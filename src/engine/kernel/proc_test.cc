// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/proc.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <filesystem>

#include "base/file.h"

namespace ks::engine {
namespace {

// Gives the calling thread a name, and the old one back.
class ThreadName {
 public:
  explicit ThreadName(const char* name) {
    prctl(PR_GET_NAME, old_);
    prctl(PR_SET_NAME, name);
  }
  ~ThreadName() { prctl(PR_SET_NAME, old_); }

 private:
  char old_[16];
};

std::string own(const char* file) { return read_file(std::string("/proc/thread-self/") + file).value(); }

constexpr std::string_view kFieldsOfStat =
    "1 2 3 34816 7 4194560 100 0 0 0 1 2 0 0 20 0 1 0 5000 9216000 1000 18446744073709551615 "
    "94000000 94100000 140000000 0 0 0 65536 1 268444224 0 0 0 17 1 0 0 0 0 0 94200000 94300000 "
    "94400000 140100000 140200000 140300000 140400000 139\n";

TEST(ParseStat, ReadsEveryField) {
  auto stat = parse_stat("7 (cat) R " + std::string(kFieldsOfStat));
  ASSERT_TRUE(stat) << stat.error().what;
  EXPECT_EQ(stat->pid, 7);
  EXPECT_EQ(stat->comm, "cat");
  EXPECT_EQ(stat->state, 'R');
  EXPECT_EQ(stat->ppid, 1);
  EXPECT_EQ(stat->pgrp, 2);
  EXPECT_EQ(stat->session, 3);
  EXPECT_EQ(stat->tty_nr, 34816);
  EXPECT_EQ(stat->flags, 4194560u);
  EXPECT_EQ(stat->start_time, 5000u);
  EXPECT_EQ(stat->start_code, 94000000u);
  EXPECT_EQ(stat->end_code, 94100000u);
  EXPECT_EQ(stat->start_stack, 140000000u);
  EXPECT_EQ(stat->exit_signal, 17);
  EXPECT_EQ(stat->start_data, 94200000u);
  EXPECT_EQ(stat->end_data, 94300000u);
  EXPECT_EQ(stat->start_brk, 94400000u);
  EXPECT_EQ(stat->arg_start, 140100000u);
  EXPECT_EQ(stat->arg_end, 140200000u);
  EXPECT_EQ(stat->env_start, 140300000u);
  EXPECT_EQ(stat->env_end, 140400000u);
  EXPECT_EQ(stat->exit_code, 139);
}

TEST(ParseStat, TheNameMayHoldAnything) {
  for (std::string name : {"a) b) S 1", ") ", "(", "", ")))", "a\nb"}) {
    auto stat = parse_stat("7 (" + name + ") Z " + std::string(kFieldsOfStat));
    ASSERT_TRUE(stat) << name << ": " << stat.error().what;
    EXPECT_EQ(stat->comm, name);
    EXPECT_EQ(stat->state, 'Z');
    EXPECT_EQ(stat->exit_code, 139);
  }
}

TEST(ParseStat, ReadsTheKernelsOwn) {
  ThreadName name("a) b) S 1\n\\");
  auto stat = parse_stat(own("stat"));
  ASSERT_TRUE(stat) << stat.error().what;
  EXPECT_EQ(stat->comm, "a) b) S 1\n\\");
  EXPECT_EQ(stat->pid, syscall(SYS_gettid));
  EXPECT_EQ(stat->ppid, getppid());
  EXPECT_EQ(stat->session, getsid(0));
  EXPECT_GT(stat->env_end, stat->arg_start);
}

TEST(ParseStat, DamageNamesTheField) {
  std::string line = "7 (cat) R " + std::string(kFieldsOfStat);
  for (size_t length = 0; length + 4 < line.size(); ++length) EXPECT_FALSE(parse_stat(line.substr(0, length)));
  line.replace(line.find("5000"), 4, "5x00");
  EXPECT_EQ(parse_stat(line).error().what.substr(0, 31), "line 1: field 22 cannot be read");
}

TEST(ParseStatus, ReadsTheKernelsOwn) {
  ThreadName name(" a\n\\n: ");
  auto status = parse_status(own("status"));
  ASSERT_TRUE(status) << status.error().what;
  EXPECT_EQ(status->name, " a\n\\n: ");
  EXPECT_EQ(status->state, 'R');
  EXPECT_EQ(status->tgid, getpid());
  EXPECT_EQ(status->pid, syscall(SYS_gettid));
  EXPECT_EQ(status->uids[1], geteuid());
  EXPECT_EQ(status->gids[1], getegid());
  EXPECT_EQ(status->ns_pids.front(), getpid());
  mode_t mask = umask(022);
  umask(mask);
  EXPECT_EQ(status->umask, mask);
  EXPECT_EQ(status->no_new_privs, prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
  EXPECT_FALSE(status->tagged_addresses);
}

TEST(ParseStatus, ReadsSignals) {
  sigset_t usr1, old;
  sigemptyset(&usr1);
  sigaddset(&usr1, SIGUSR1);
  sigprocmask(SIG_BLOCK, &usr1, &old);
  auto old_handler = signal(SIGUSR2, SIG_IGN);
  raise(SIGUSR1);
  auto status = parse_status(own("status"));
  int received = 0;
  sigwait(&usr1, &received);
  signal(SIGUSR2, old_handler);
  sigprocmask(SIG_SETMASK, &old, nullptr);
  ASSERT_TRUE(status) << status.error().what;
  EXPECT_TRUE(status->blocked & 1u << (SIGUSR1 - 1));
  EXPECT_TRUE(status->ignored & 1u << (SIGUSR2 - 1));
  EXPECT_TRUE((status->pending | status->shared_pending) & 1u << (SIGUSR1 - 1));
}

// A kernel of 6.1, shortened.
constexpr std::string_view kStatus =
    "Name:\tdaemon\nUmask:\t0022\nState:\tS (sleeping)\nTgid:\t41\nNgid:\t0\nPid:\t42\nPPid:\t1\n"
    "TracerPid:\t0\nUid:\t10\t11\t12\t13\nGid:\t20\t21\t22\t23\nFDSize:\t64\nGroups:\t4 24 4294967294 \n"
    "NStgid:\t41\t7\nNSpid:\t42\t8\nNSpgid:\t41\t7\nNSsid:\t41\t7\nVmPeak:\t    2604 kB\nThreads:\t1\n"
    "SigQ:\t0/96365\nSigPnd:\t0000000000000000\nShdPnd:\t0000000000000001\nSigBlk:\t8000000000000000\n"
    "SigIgn:\t0000000000001000\nSigCgt:\t0000000180014002\nCapInh:\t0000000000000000\n"
    "CapPrm:\t000001ffffffffff\nCapEff:\t000001fffffffffe\nCapBnd:\t000001ffffffffff\n"
    "CapAmb:\t0000000000000400\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t3\n"
    "x86_Thread_features:\tshstk wrss \nx86_Thread_features_locked:\tshstk wrss \n";

TEST(ParseStatus, ReadsAnOlderKernels) {
  auto status = parse_status(kStatus);
  ASSERT_TRUE(status) << status.error().what;
  EXPECT_EQ(status->umask, 022u);
  EXPECT_EQ(status->pid, 42);
  EXPECT_EQ(status->uids, (std::array<uid_t, 4>{10, 11, 12, 13}));
  EXPECT_EQ(status->gids, (std::array<gid_t, 4>{20, 21, 22, 23}));
  EXPECT_EQ(status->groups, (std::vector<gid_t>{4, 24, 4294967294}));
  EXPECT_EQ(status->ns_pids, (std::vector<pid_t>{42, 8}));
  EXPECT_EQ(status->shared_pending, 1u);
  EXPECT_EQ(status->blocked, uint64_t{1} << 63);
  EXPECT_EQ(status->caught, 0x180014002u);
  EXPECT_EQ(status->cap_effective, 0x1fffffffffeu);
  EXPECT_EQ(status->cap_ambient, 0x400u);
  EXPECT_TRUE(status->no_new_privs);
  EXPECT_EQ(status->seccomp, 2);
  EXPECT_EQ(status->thread_features, "shstk wrss");
  EXPECT_FALSE(status->tagged_addresses);
}

TEST(ParseStatus, TaggedAddresses) {
  EXPECT_FALSE(parse_status("Pid:\t1\nuntag_mask:\t0xffffffffffffffff\n")->tagged_addresses);
  EXPECT_TRUE(parse_status("Pid:\t1\nuntag_mask:\t0x81ffffffffffffff\n")->tagged_addresses);
}

TEST(ParseStatus, DamageNamesTheLine) {
  EXPECT_FALSE(parse_status(""));
  EXPECT_EQ(parse_status("Name:\tx\nUid:\t1\t2\t3\n").error().what, "line 2: cannot be read: \"Uid:\t1\t2\t3\"");
  EXPECT_FALSE(parse_status("Pid:\t1\nno colon\n"));
  EXPECT_FALSE(parse_status("Pid:\t1\nState:\n"));
  EXPECT_FALSE(parse_status("Pid:\t1\nGroups:\t4 x\n"));
  EXPECT_FALSE(parse_status("Pid:\t99999999999\n"));
  EXPECT_FALSE(parse_status("Pid:\t1\nNoNewPrivs:\t2\n"));
  for (size_t length = 0; length < kStatus.size(); ++length) (void)parse_status(kStatus.substr(0, length));
}

TEST(ParseFdInfo, ReadsTheFirstThreeLinesByPlace) {
  auto info = parse_fdinfo(
      "pos:\t12\nflags:\t02100002\nmnt_id:\t15\nino:\t1055\neventfd-count:                2\n"
      "name:\tx\nflags:\t07\nlock:\t1: POSIX  ADVISORY  WRITE 1 08:01:9 0 EOF\n");
  ASSERT_TRUE(info) << info.error().what;
  EXPECT_EQ(info->position, 12u);
  EXPECT_EQ(info->flags, 02100002);
  EXPECT_EQ(info->mount, 15);
  EXPECT_EQ(info->value("eventfd-count"), "2");
  EXPECT_EQ(info->value("eventfd"), std::nullopt);
  EXPECT_EQ(info->value("lock"), "1: POSIX  ADVISORY  WRITE 1 08:01:9 0 EOF");
  EXPECT_EQ(info->rest.size(), 5u);
}

TEST(ParseFdInfo, ReadsTheKernelsOwn) {
  Fd fd = *open_file("/proc/self/exe", O_RDONLY);
  ASSERT_EQ(lseek(fd.get(), 77, SEEK_SET), 77);
  auto info = parse_fdinfo(own(("fdinfo/" + std::to_string(fd.get())).c_str()));
  ASSERT_TRUE(info) << info.error().what;
  EXPECT_EQ(info->position, 77u);
  EXPECT_EQ(info->flags & ~O_LARGEFILE & ~0100000, O_RDONLY | O_CLOEXEC);
  EXPECT_GT(info->mount, 0);
}

TEST(ParseFdInfo, APositionMayBeNegative) {
  EXPECT_EQ(parse_fdinfo("pos:\t-4096\nflags:\t00\nmnt_id:\t1\n")->position, ~uint64_t{0} - 4095);
}

TEST(ParseFdInfo, DamageNamesTheLine) {
  EXPECT_FALSE(parse_fdinfo(""));
  EXPECT_FALSE(parse_fdinfo("flags:\t00\npos:\t1\nmnt_id:\t1\n"));
  EXPECT_EQ(parse_fdinfo("pos:\t1\nflags:\t09\nmnt_id:\t1\n").error().what, "line 2: cannot be read: \"flags:\t09\"");
  EXPECT_FALSE(parse_fdinfo("pos:\t1\nflags:\t00\nmnt_id:\n"));
}

TEST(ParseCgroup, TakesTheUnifiedHierarchy) {
  EXPECT_EQ(parse_cgroup("0::/system.slice/a b:c.service\n").value(), "/system.slice/a b:c.service");
  EXPECT_EQ(parse_cgroup("1:name=systemd:/x\n0::/\n").value(), "/");
  EXPECT_FALSE(parse_cgroup("1:name=systemd:/x\n"));
  EXPECT_FALSE(parse_cgroup("0::"));
  EXPECT_FALSE(parse_cgroup(""));
}

}  // namespace
}  // namespace ks::engine
