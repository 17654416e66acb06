// SPDX-License-Identifier: LGPL-2.1-or-later
// Namespaces of its own, by argument: uts, ipc, net, user, or several together; "net assigned" has addresses before
// its loopback interface is up, as systemd makes it. One process makes them, another one
// joins it, and a third stays outside.
#include <grp.h>
#include <linux/if_addr.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <string>
#include <thread>
#include <vector>

#include "identity.h"
#include "program.h"

static std::string link_of(const std::string& path) {
  char text[256];
  ssize_t got = readlink(path.c_str(), text, sizeof text);
  CHECK(got > 0);
  return std::string(text, static_cast<size_t>(got));
}
static short loopback(short flags) {
  int fd = socket(AF_INET, SOCK_DGRAM, 0);
  ifreq request{};
  strcpy(request.ifr_name, "lo");
  CHECK(fd >= 0 && ioctl(fd, SIOCGIFFLAGS, &request) == 0);
  short before = request.ifr_flags;
  request.ifr_flags = static_cast<short>(before | flags);
  if (flags) CHECK(ioctl(fd, SIOCSIFFLAGS, &request) == 0);
  close(fd);
  return before;
}

static void assign_addresses() {
  int fd = socket(AF_INET, SOCK_DGRAM, 0);
  ifreq lo{};
  strcpy(lo.ifr_name, "lo");
  auto* four = reinterpret_cast<sockaddr_in*>(&lo.ifr_addr);
  four->sin_family = AF_INET, four->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  CHECK(fd >= 0 && ioctl(fd, SIOCSIFADDR, &lo) == 0 && close(fd) == 0);
  struct {
    nlmsghdr header;
    ifaddrmsg address;
    rtattr local;
    in6_addr six;
    rtattr flags;
    unsigned value;
  } request{{sizeof request, RTM_NEWADDR, NLM_F_REQUEST | NLM_F_ACK, 1, 0},
            {AF_INET6, 128, 0, RT_SCOPE_HOST, 1},
            {sizeof(rtattr) + sizeof(in6_addr), IFA_LOCAL},
            IN6ADDR_LOOPBACK_INIT,
            {sizeof(rtattr) + sizeof(unsigned), IFA_FLAGS},
            IFA_F_PERMANENT | IFA_F_NOPREFIXROUTE};
  fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
  char answer[1024];
  CHECK(send(fd, &request, sizeof request, 0) == sizeof request && recv(fd, answer, sizeof answer, 0) > 0);
  CHECK(close(fd) == 0);
}

struct Kind {
  const char* name;
  int flag;
};
static const Kind kKinds[] = {
    {"user", CLONE_NEWUSER}, {"uts", CLONE_NEWUTS}, {"ipc", CLONE_NEWIPC}, {"net", CLONE_NEWNET}};

// All that this process can tell of where it is.
static std::string view() {
  char host[256] = {}, domain[256] = {};
  CHECK(gethostname(host, sizeof host) == 0 && getdomainname(domain, sizeof domain) == 0);
  std::string text = std::string(host) + "." + domain;
  text += " lo " + std::to_string(loopback(0) & IFF_UP);
  for (const char* table : {"ipv6_route", "if_inet6"}) {  // each other's traffic is counted there
    std::string path = std::string("/proc/thread-self/net/") + table, lines;
    if (access(path.c_str(), F_OK) == 0) lines = content(path);
    text += " " + std::to_string(std::count(lines.begin(), lines.end(), '\n'));
  }
  return text + identity();
}

static int flags = 0;
static bool together = false, assigned = false;
static int to_maker[2], from_maker[2];

static void make() {
  char byte = 'x';
  if (together) {  // groups that the namespace does not know
    gid_t groups[] = {4242, 100000};
    CHECK(setgroups(2, groups) == 0);
  }
  if (unshare(flags & CLONE_NEWUSER ? CLONE_NEWUSER : flags)) _exit(77);
  CHECK(write(from_maker[1], &byte, 1) == 1 && read(to_maker[0], &byte, 1) == 1);  // its IDs are mapped
  if (flags & CLONE_NEWUSER && flags != CLONE_NEWUSER) CHECK(unshare(flags & ~CLONE_NEWUSER) == 0);
  if (flags & CLONE_NEWUTS) CHECK(sethostname("h\xe4her", 5) == 0 && setdomainname("domain", 6) == 0);
  if (assigned) assign_addresses();
  if (flags & CLONE_NEWNET) loopback(IFF_UP);
  // The kernel adds the route to ::1 a moment later.
  std::string routes = "/proc/self/net/ipv6_route";
  if (assigned && access(routes.c_str(), F_OK) == 0)
    for (int i = 0; i < 5000 && content(routes).find(" 80200001 ") == std::string::npos; ++i) usleep(1000);
  if (flags & CLONE_NEWUSER) {
    CHECK(syscall(SYS_setresgid, 3, 3, 3) == 0);
    if (together) {  // as a service of systemd that has given up all
      for (int i = 0; i <= 40; ++i) CHECK(prctl(PR_CAPBSET_DROP, i, 0, 0, 0) == 0 || errno == EINVAL);
      CHECK(syscall(SYS_setresuid, 5, 5, 5) == 0);
    }
  }
}

static void live() {
  volatile bool finish = false;
  std::vector<std::thread> threads;
  auto stay = [&] {
    auto tid = syscall(SYS_gettid);
    std::string before = view();
    while (!finish) usleep(1000);
    CHECK(syscall(SYS_gettid) == tid && view() == before);
  };
  for (int i = 0; i < 3; ++i) threads.emplace_back(stay);
  std::string before = view();
  usleep(10'000);
  char byte = 'x';
  CHECK(write(from_maker[1], &byte, 1) == 1);
  wait_until_told();
  CHECK(view() == before && read(to_maker[0], &byte, 1) == 1);
  finish = true;
  for (auto& thread : threads) thread.join();
}

int main(int count, char** arguments) {
  for (const Kind& kind : kKinds)
    for (int i = 1; i < count; ++i)
      if (!strcmp(kind.name, arguments[i])) flags |= kind.flag;
  assigned = !strcmp(arguments[count - 1], "assigned");
  together = count > 2 && !assigned;
  CHECK(pipe(to_maker) == 0 && pipe(from_maker) == 0);
  std::string before = view();
  char byte = 'x';
  pid_t maker = fork();
  if (maker == 0) {
    make();
    live();
    _exit(0);
  }
  std::string proc = "/proc/" + std::to_string(maker) + "/";
  if (read(from_maker[0], &byte, 1) != 1) skip("no such namespaces");
  if (flags & CLONE_NEWUSER) {
    if (!together) put(proc + "setgroups", "deny");
    put(proc + "uid_map", "0 0 1\n5 1005 10\n");
    put(proc + "gid_map", "0 0 1\n3 2003 4\n");
  }
  CHECK(write(to_maker[1], &byte, 1) == 1 && read(from_maker[0], &byte, 1) == 1);
  pid_t joiner = fork();
  if (joiner == 0) {
    // A user namespace last: what belongs to it does so from above as well.
    for (const Kind* kind = std::end(kKinds); kind-- != kKinds;)
      if (flags & kind->flag) {
        int fd = open((proc + "ns/" + kind->name).c_str(), O_RDONLY);
        CHECK(setns(fd, 0) == 0 && close(fd) == 0);
      }
    live();
    _exit(0);
  }
  CHECK(read(from_maker[0], &byte, 1) == 1);
  ready();
  for (const Kind& kind : kKinds) {
    std::string name = std::string("/ns/") + kind.name, of_maker = link_of("/proc/" + std::to_string(maker) + name);
    CHECK(link_of("/proc/" + std::to_string(joiner) + name) == of_maker);
    CHECK((link_of("/proc/self" + name) == of_maker) == !(flags & kind.flag));
  }
  CHECK(view() == before && write(to_maker[1], "xx", 2) == 2);
  for (pid_t child : {maker, joiner}) {
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
  }
  return 0;
}
