// SPDX-License-Identifier: LGPL-2.1-or-later
// What cannot be carried is refused by its name, and goes on as if nobody had asked.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <functional>

#include "base/file.h"
#include "base/text.h"
#include "engine_process.h"
#include "family.h"
#include "small_kernel.h"
#include "subject.h"

namespace ks::test {
namespace {

struct Refusal {
  std::string thing;
  std::vector<std::string> said;  // all of it, in one line
  bool swap = false;              // only if another kernel follows
};

const std::vector<Refusal> kRefusals = {
    {"aio_in_flight", {"area", "[aio]", "1 requests in flight", "try again"}},
    {"aio_inherited", {"area", "[aio]", "without a context"}},
    {"aio_unmapped", {"asynchronous I/O context", "has unmapped it"}},
    {"aio_written_to", {"area", "[aio]", "not as the kernel knows it"}},
    {"bpf_map", {"fd", "bpf-map"}},
    {"cgroup_namespace", {"cgroup namespace"}},
    {"control_group_elsewhere", {"control group", "is not below that of the service"}},
    {"control_group_with_controller", {"control group", "freezer.state", "controller"}},
    {"control_group_with_controllers_below", {"control group", "subtree_control"}},
    {"controlling_terminal", {"controlling terminal"}},
    {"dead_main_thread", {"main thread has ended"}},
    {"descriptors_of_a_thread", {"thread", "descriptors of its own"}},
    {"directory_notification", {"fd", "F_NOTIFY"}},
    {"epoll_of_a_file_gone", {"fd", "eventpoll", "no process of it has open"}},
    {"epoll_of_a_timer_fired", {"fd", "eventpoll", "EPOLLONESHOT"}},
    {"eventfd_from_outside", {"fd", "eventfd", "shared with pid"}},
    {"fanotify_for_permissions", {"fd", "fanotify", "permission"}},
    {"fanotify_that_decides", {"fd", "fanotify", "decides"}},
    {"fanotify_unread", {"fd", "fanotify", "events"}},
    {"fifo_from_outside", {"fd", "/fifo", "shared with pid"}},
    {"fuse_device", {"fd", "/dev/fuse"}},
    {"immutable_file", {"fd", "/file", "chattr"}},
    {"namespace_of_nobody", {"fd", "uts:", "none of its processes"}},
    {"inotify_in_memory", {"fd", "inotify", "/dev/shm", "tmpfs"}},
    {"inotify_unread", {"fd", "inotify", "events"}},
    {"ipc_namespace_of_others", {"ipc namespace", "holds System V semaphores", "not part of it"}},
    {"ipc_namespace_with_limits", {"ipc namespace", "kernel/msgmnb"}},
    {"ipc_namespace_with_queue", {"message queue /kernel-swap", "no process of it has open"}},
    {"kernel_log", {"fd", "/dev/kmsg"}},
    {"key_in_process_keyring", {"key user:kernel-swap-test", "new kernel"}},
    {"key_in_session_keyring", {"key user:kernel-swap-test", "new kernel"}},
    {"keyring_of_a_thread", {"thread", "another session keyring"}},
    {"landlock", {"process", "Landlock"}},
    {"large_deleted_file", {"fd", "/deleted", "limit"}},
    {"memory_of_others", {"fd", "/memfd:", "shared with pid"}},
    {"memory_policy", {"thread", "memory policy"}},
    {"message_queue_not_open", {"message queue /kernel-swap-test", "may be its own"}},
    {"message_queue_of_others", {"fd", "kernel-swap-test", "shared with pid"}},
    {"message_queue_with_notification", {"fd", "kernel-swap-test", "mq_notify", "holds messages"}},
    {"message_queue_with_notified_thread", {"fd", "kernel-swap-test", "SIGEV_THREAD"}},
    {"mount_namespace", {"mnt namespace"}},
    {"namespace_of_a_thread", {"thread", "another uts namespace"}},
    {"network_namespace_with_address", {"net namespace", "address 7f000002"}},
    {"network_namespace_with_interface", {"net namespace", "interface ks"}},
    {"network_namespace_with_setting", {"net namespace", "ip_unprivileged_port_start"}},
    {"no_main_stack", {"stack"}},
    {"owner_outside", {"fd", "pipe", "F_SETOWN"}},
    {"parent_death_of_a_thread", {"parent-death signal", "thread"}},
    {"perf_event", {"fd", "perf_event"}},
    {"pid_namespace_from_outside", {"PID namespace", "first process"}},
    {"pid_namespace_in_user_namespace_entered_twice", {"PID namespace", "cannot be entered twice"}},
    {"pid_namespace_in_user_namespace_with_hidden_directory",
     {"PID namespace", "no access to its working directory"}},
    {"pid_namespace_in_user_namespace_with_locked_memory", {"PID namespace", "locked memory"}},
    {"pid_namespace_of_a_thread", {"thread", "another pid namespace"}},
    {"pid_namespace_that_has_ended", {"PID namespace", "has ended"}},
    {"pid_namespace_to_be_in_user_namespace", {"PID namespace", "for its children, in a user namespace"}},
    {"pid_namespace_with_others", {"PID namespace", "is also that of pid"}},
    {"pid_namespace_with_limit", {"PID namespace", "pid_max"}},
    {"pidfd_from_outside", {"fd", "pidfd", "not part of it"}},
    {"pipe_from_outside", {"fd", "pipe", "shared with pid"}},
    {"proc_file", {"fd", "/proc/", "/mem", "kernel"}},
    {"proc_file_of_others", {"fd", "/proc/", "not part of the service"}},
    {"pressure_trigger", {"fd", "/proc/pressure/", "kernel"}},
    {"seccomp_strict", {"thread", "strict seccomp"}},
    {"seccomp_supervised", {"thread", "seccomp filter", "supervisor"}},
    {"seccomp_that_kills", {"thread", "seccomp filter would end it"}},
    {"seccomp_that_kills_keyctl", {"keyrings", "only it can tell", "seccomp filter would end it"}},
    {"seccomp_that_keeps_from_returning", {"seccomp filter would end it", "system call 15"}},
    {"semaphore_undo_of_a_thread", {"thread", "SEM_UNDO"}},
    {"semaphore_undo_of_processes", {"shares the adjustments", "SEM_UNDO"}},
    {"shared_descriptors_of_cousins", {"shares its descriptor table", "cloned by another one"}},
    {"shared_descriptors_of_others", {"shares its descriptor table with pid", "not part of it"}},
    {"shared_directories_of_others", {"shares its working directory with pid", "not part of it"}},
    {"shared_memory_of_cousins", {"shares memory with pid", "could clone it"}},
    {"shared_memory_of_others", {"shares memory with pid", "not part of it"}},
    {"stack_with_protection_key", {"process", "its main stack", "protection key"}},
    {"system_call_dispatch", {"system call"}},
    {"sysv_memory_of_others", {"System V shared memory", "attached by a process that is not part of it"}},
    {"sysv_queue_not_used", {"System V message queue", "may be its own"}},
    {"sysv_queue_of_others", {"System V message queue", "shared with pid"}},
    {"sysv_semaphores_adjusted", {"System V semaphores", "SEM_UNDO", "used by others too"}},
    {"sysv_semaphores_not_used", {"System V semaphores", "may be its own"}},
    {"sysv_semaphores_of_others", {"System V semaphores", "shared with pid"}},
    {"sysv_memory", {"area", "/SYSV", "shared with pid"}},
    {"terminal", {"fd", "/dev/ptmx", "other end"}},
    {"terminal_from_outside", {"fd", "/dev/pts/", "not part of the service"}},
    {"terminal_quoting", {"fd", "/dev/ptmx", "quoting character"}},
    {"terminal_unread", {"fd", "/dev/ptmx", "more output that has not been read"}},
    {"terminal_unread_signalled", {"fd", "/dev/ptmx", "output that has not been read", "O_ASYNC"}},
    {"terminal_unread_input", {"fd", "/dev/ptmx", "more input that has not been read"}},
    {"terminal_unread_packet", {"fd", "/dev/ptmx", "output that has not been read", "TIOCPKT"}},
    {"thread_that_may_not_write", {"process", "denies itself memory without a protection key"}},
    {"thread_time_timer", {"timer 0", "CPU time of one thread"}},
    {"time_namespace_of_children", {"time namespace", "children"}},
    {"timer_of_a_dead_thread", {"timer 0", "has ended"}},
    {"tun_device", {"fd", "/dev/net/tun"}},
    {"traced", {"traced by pid"}},
    {"user_namespace_with_limit", {"user namespace", "max_uts_namespaces"}},
    {"userfaultfd", {"fd", "userfaultfd"}},
    {"userfaultfd_area", {"area", "userfaultfd"}},
    {"vfork_parent", {"vfork(2)"}},
    {"zombie_with_core", {"zombie", "core"}},
};

const std::vector<Refusal> kRefusedSockets = {
    {"datagram_after_error", {"fd", "socket", "SO_ERROR"}},
    {"datagram_hidden", {"fd", "socket", "empty datagrams"}},
    {"datagram_looking_ahead", {"fd", "socket", "SO_PEEK_OFF"}},
    {"datagram_told_more", {"fd", "socket", "datagrams that nobody has read", "IP_PKTINFO"}},
    {"multipath", {"fd", "socket", "MPTCP"}},
    {"netlink_answering", {"fd", "socket", "not read the whole answer"}},
    {"netlink_generic", {"fd", "socket", "generic netlink"}},
    {"netlink_ipsec", {"fd", "socket", "is of IPsec", "CAP_NET_ADMIN"}, true},
    {"netlink_log", {"fd", "socket", "a queue, log or table"}},
    {"netlink_routing", {"fd", "socket", "addresses, routes and rules", "NetworkSettings=leave"}, true},
    {"netlink_routing_of_a_thread", {"fd", "socket", "NetworkSettings=leave"}, true},
    {"netlink_unread", {"fd", "socket", "messages that nobody has read"}},
    {"other_network", {"fd", "socket", "another network namespace"}},
    {"packet_ring", {"fd", "socket", "PACKET_RX_RING"}},
    {"packet_shared_out", {"fd", "socket", "PACKET_FANOUT"}},
    {"pipe_on_its_way_outside", {"fd", "pipe:", "shows in no process", "try again"}},
    {"policy_of_its_own", {"fd", "socket", "IP_XFRM_POLICY"}},
    {"port_with_chooser", {"fd", "socket", "a program chooses"}},
    {"raw_unread", {"fd", "socket", "packets that nobody has read"}},
    {"sctp", {"fd", "socket", "SCTP"}},
    {"socket_error", {"fd", "socket", "SO_ERROR"}},
    {"tcp_connection", {"fd", "socket", "TCP connection to 127.0.0.1", "nobody holds back"}},
    {"tcp_keys", {"fd", "socket", "keys for its segments"}},
    {"tcp_not_accepted", {"fd", "socket", "nobody has accepted"}},
    {"tcp_notification", {"fd", "socket", "MSG_ERRQUEUE"}},
    {"tcp_shut_down", {"fd", "socket", "without a connection"}},
    {"tcp_urgent_filtered", {"fd", "socket", "urgent data", "has a filter"}},
    {"unix_from_outside", {"fd", "socket", "no process of it has open", "ExternalSockets=reset"}},
    {"unix_not_accepted_outside", {"fd", "socket", "has not accepted it yet", "ExternalSockets=reset"}},
    {"unix_log_in_flight", {"/dev/kmsg", "in flight in fd", "of pid"}},
    {"unix_message_from_abstract", {"fd", "socket", "a datagram from @kernel-swap-gone"}},
    {"unix_message_from_outside", {"fd", "socket", "a message with credentials of pid"}},
    {"unix_message_with_time", {"fd", "socket", "messages with a time"}},
    {"unix_moved", {"fd", "socket", "is bound to here, where its file is not any more", "elsewhere/there"}},
    {"unix_name_gone", {"fd", "socket", "no process of it listens any more"}},
    {"unix_not_accepted", {"fd", "socket", "with data, that nobody has accepted"}},
    {"unix_not_accepted_from_outside",
     {"fd", "socket", "from outside that nobody has accepted", "ExternalSockets=reset"}},
    {"unix_not_accepted_of_several", {"fd", "socket", "several processes may have connected it"}},
    {"unix_out_of_band", {"fd", "socket", "out of band"}},
    {"unix_queue_in_flight", {"/kernel-swap-in-flight", "in flight in fd", "cannot be carried in flight"}},
    {"xdp", {"fd", "socket", "XDP"}},
};

const std::vector<Refusal> kRefusedRings = {
    {"at_work", {"fd", "io_uring", "1 requests in flight", "try again"}},
    {"closed", {"area", "io_uring", "no process of it has open"}},
    {"eventfd_closed", {"fd", "io_uring", "tells an eventfd", "has not open"}},
    {"far", {"fd", "io_uring", "has served 600000 requests", "seconds"}},
    {"from_outside", {"fd", "io_uring", "shared with pid"}},
    {"in_flight", {"fd", "io_uring", "1 requests in flight", "try again"}},
    {"in_part", {"area", "io_uring", "a part of a ring"}},
    {"linked", {"fd", "io_uring", "2 requests in flight", "try again"}},
    {"of_a_thread_gone", {"fd", "io_uring", "for a thread alone"}},
    {"overflown", {"fd", "io_uring", "no room", "try again"}},
    {"registered_files", {"fd", "io_uring", "registered files"}},
    {"registered_for_a_thread", {"io_uring", "IORING_REGISTER_RING_FDS"}},
    {"several_completions", {"fd", "io_uring", "several completions for one request"}},
    {"with_thread_of_kernel", {"fd", "io_uring", "IORING_SETUP_SQPOLL"}},
    {"written_to", {"fd", "io_uring", "not as the kernel knows it"}},
};

class Refused : public testing::TestWithParam<Refusal> {};

bool has_line(const std::string& text, const std::vector<std::string>& parts) {
  for (auto line : split(text, '\n'))
    if (std::ranges::all_of(parts, [&](const auto& part) { return line.find(part) != line.npos; })) return true;
  return false;
}

void expect_refusal(const std::string& program, const Refusal& refusal) {
  if (::geteuid() != 0) GTEST_SKIP() << "must be run as root";
  become_reaper();
  Workplace place;
  Subject subject(place, program, {refusal.thing});
  std::string trouble = subject.await_ready();
  if (trouble.starts_with("skipped: ")) GTEST_SKIP() << trouble;
  ASSERT_EQ(trouble, "");
  auto target = parse_number<pid_t>(subject.output().substr(7, subject.output().find('\n') - 7));
  ASSERT_TRUE(target) << subject.output();

  for (int attempt = 0; attempt < 2; ++attempt) {
    DumpPlan plan;
    if (refusal.swap) plan.next_kernel = engine::NextKernel::unknown("nobody tells");
    Outcome outcome = EngineProcess::dump(*target, place.file("image"), plan).wait();
    EXPECT_EQ(outcome.end, Outcome::End::refused) << outcome;
    EXPECT_TRUE(has_line(outcome.text, refusal.said)) << outcome;
    for (auto name : {"image", "image.partial"}) EXPECT_FALSE(std::filesystem::exists(place.file(name)));
  }
  subject.tell();
  EXPECT_EQ(subject.await_success(), "");
}

TEST_P(Refused, ByNameAndUnharmed) { expect_refusal("refused", GetParam()); }

class RefusedSocket : public Refused {};
TEST_P(RefusedSocket, ByNameAndUnharmed) { expect_refusal("refused_sockets", GetParam()); }

class RefusedRing : public Refused {};
TEST_P(RefusedRing, ByNameAndUnharmed) { expect_refusal("refused_rings", GetParam()); }

class NetworkSettings : public testing::TestWithParam<std::pair<std::string, DumpPlan>> {};

// Where nothing can have been set up, it does not matter, or no other kernel follows.
TEST_P(NetworkSettings, AreNotInTheWay) {
  if (::geteuid() != 0) GTEST_SKIP() << "must be run as root";
  become_reaper();
  const auto& [argument, plan] = GetParam();
  Workplace place;
  Subject subject(place, "netlink_sockets", argument.empty() ? std::vector<std::string>() : std::vector{argument});
  ASSERT_EQ(subject.await_ready(), "");
  Outcome outcome = EngineProcess::dump(subject.pid(), place.file("image"), plan).wait();
  EXPECT_TRUE(outcome.done()) << outcome;
  subject.tell();
  EXPECT_EQ(subject.await_success(), "");
}

const std::vector<std::pair<std::string, DumpPlan>> kPlansForSettings = {
    {"unprivileged", {.leave_running = true, .next_kernel = engine::NextKernel::unknown("nobody tells")}},
    {"", {.leave_running = true, .leave_network_settings = true, .next_kernel = engine::NextKernel::unknown("no")}},
    {"", {.leave_running = true}}};

// The file of a kernel with such types.
engine::NextKernel kernel_of(const std::string& release, const std::string& types) {
  return engine::kernel_of(engine::small_kernel(release, types), "kernel");
}

std::string own_types() { return read_file("/sys/kernel/btf/vmlinux").value_or(""); }

struct OtherKernel {
  std::string name;
  std::function<engine::NextKernel()> kernel;
  std::string said;
};
const std::vector<OtherKernel> kOtherKernels = {
    {"unknown", [] { return engine::NextKernel::unknown("nobody tells"); }, "is not known: nobody tells"},
    {"without_types", [] { return kernel_of("99.1.0", "x"); }, "is not known: kernel: its types (BTF)"},
    {"laid_out_otherwise", [] { return kernel_of("99.1.0", engine::RingTypes{.flags_at = 60}.text()); },
     "the next kernel (99.1.0): lays out rings otherwise than this one"},
    {"older", [] { return kernel_of("5.0.1", own_types()); }, "the next kernel (5.0.1): may lack what rings of"},
};

class RingForOtherKernel : public testing::TestWithParam<OtherKernel> {};

TEST_P(RingForOtherKernel, IsRefusedByNameAndUnharmed) {
  if (::geteuid() != 0) GTEST_SKIP() << "must be run as root";
  if (own_types().empty()) GTEST_SKIP() << "this kernel has no BTF";
  become_reaper();
  Workplace place;
  Subject subject(place, "io_uring");
  std::string trouble = subject.await_ready();
  if (trouble.starts_with("skipped: ")) GTEST_SKIP() << trouble;
  ASSERT_EQ(trouble, "");
  auto outcome = EngineProcess::dump(subject.pid(), place.file("image"), {.next_kernel = GetParam().kernel()}).wait();
  EXPECT_EQ(outcome.end, Outcome::End::refused) << outcome;
  EXPECT_TRUE(has_line(outcome.text, {"pid", "fd", "io_uring", GetParam().said})) << outcome;
  EXPECT_FALSE(has_line(outcome.text, {"area"})) << outcome;  // of which that is all there is to say
  subject.tell();
  EXPECT_EQ(subject.await_success(), "");
}

// What the processors of today's test machines have not: /proc tells it of a program that has it as little. The
// engine sees another file in place of one of the process's.
Outcome dump_seeing(Workplace& place, Subject& subject, const std::string& file, const std::string& text) {
  std::string real = fmt::format("/proc/{}/{}", subject.pid(), file), fake = place.file("fake");
  EXPECT_TRUE(replace_file(fake, text, 0600));
  EXPECT_EQ(::mount(fake.c_str(), real.c_str(), nullptr, MS_BIND, nullptr), 0);
  Outcome outcome = EngineProcess::dump(subject.pid(), place.file("image"), {.leave_running = true}).wait();
  EXPECT_EQ(::umount2(real.c_str(), MNT_DETACH), 0);
  return outcome;
}

TEST(RefusedShadowStack, ByNameAndUnharmed) {
  if (::geteuid() != 0) GTEST_SKIP() << "must be run as root";
  if (::unshare(CLONE_NEWNS) || ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr))
    GTEST_SKIP() << "no mount namespaces";
  become_reaper();
  Workplace place;
  Subject subject(place, "heap");
  ASSERT_EQ(subject.await_ready(), "");
  std::string status = fmt::format("task/{}/status", subject.pid());
  std::string told = read_file(fmt::format("/proc/{}/{}", subject.pid(), status)).value();
  std::string areas = read_file(fmt::format("/proc/{}/smaps", subject.pid())).value();
  std::erase_if(told, [](char letter) { return letter == '\0'; });
  if (size_t line = told.find("x86_Thread_features:"); line != told.npos) told.erase(line);

  // Neither file refuses anything as it is.
  Outcome outcome = dump_seeing(place, subject, status, told + "x86_Thread_features:\t\n");
  EXPECT_TRUE(outcome.done()) << outcome;
  ASSERT_TRUE(remove_tree(place.file("image")));
  outcome = dump_seeing(place, subject, "smaps", areas);
  EXPECT_TRUE(outcome.done()) << outcome;
  ASSERT_TRUE(remove_tree(place.file("image")));

  outcome = dump_seeing(place, subject, status, told + "x86_Thread_features:\tshstk wrss \n");
  EXPECT_EQ(outcome.end, Outcome::End::refused) << outcome;
  EXPECT_TRUE(has_line(outcome.text, {"thread", "has a shadow stack"})) << outcome;
  size_t flags = areas.find("VmFlags:", areas.find("[heap]"));
  areas.insert(areas.find('\n', flags), "ss ");
  outcome = dump_seeing(place, subject, "smaps", areas);
  EXPECT_EQ(outcome.end, Outcome::End::refused) << outcome;
  EXPECT_TRUE(has_line(outcome.text, {"area", "[heap]", "a shadow stack"})) << outcome;
  EXPECT_FALSE(std::filesystem::exists(place.file("image")));
  subject.tell();
  EXPECT_EQ(subject.await_success(), "");
}

INSTANTIATE_TEST_SUITE_P(Kernels, RingForOtherKernel, testing::ValuesIn(kOtherKernels),
                         [](const auto& info) { return info.param.name; });
INSTANTIATE_TEST_SUITE_P(Plans, NetworkSettings, testing::ValuesIn(kPlansForSettings));
INSTANTIATE_TEST_SUITE_P(Things, RefusedRing, testing::ValuesIn(kRefusedRings),
                         [](const auto& info) { return info.param.thing; });
INSTANTIATE_TEST_SUITE_P(Things, RefusedSocket, testing::ValuesIn(kRefusedSockets),
                         [](const auto& info) { return info.param.thing; });
INSTANTIATE_TEST_SUITE_P(Things, Refused, testing::ValuesIn(kRefusals),
                         [](const auto& info) { return info.param.thing; });

}  // namespace
}  // namespace ks::test
