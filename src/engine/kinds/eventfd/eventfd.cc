// SPDX-License-Identifier: LGPL-2.1-or-later
// eventfd(2): a counter, told by fdinfo (Documentation/filesystems/proc.rst, section 3.8).
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/text.h"
#include "engine/eventfd.pb.h"
#include "engine/kinds/kind.h"

namespace ks::engine {

namespace {

constexpr std::string_view kName = "eventfd";
constexpr uint32_t kVersion = 1;

bool owns(const OpenFile& file) { return file.link == "anon_inode:[eventfd]"; }

// Takes from the counter and puts back at once. Every process that knows the counter is stopped, but we might be
// killed between the two: so a child in a session of its own does it, which nothing that aims at us hits. To an epoll
// that watches the counter edge-triggered this is an edge.
Result<bool> try_semaphore(const OpenFile& file, uint64_t count) {
  Fd mine = TRY(file.fetch());
  enum Answer { counter = 0, semaphore = 1, failed = 2 };
  pid_t child = ::fork();
  if (child < 0) return fail_errno("fork");
  if (child == 0) {
    ::setsid();
    uint64_t add = count < 2 ? 2 - count : 0, got = 0;  // of 2 or more, a semaphore gives 1
    if (add && ::write(mine.get(), &add, sizeof add) != sizeof add) ::_exit(failed);
    if (::read(mine.get(), &got, sizeof got) != sizeof got) ::_exit(failed);
    bool one = got == 1;
    for (uint64_t taken = 1; one && taken < add; ++taken)
      if (::read(mine.get(), &got, sizeof got) != sizeof got) ::_exit(failed);
    uint64_t back = one ? (add ? 0 : 1) : count;
    if (back && ::write(mine.get(), &back, sizeof back) != sizeof back) ::_exit(failed);
    ::_exit(one ? semaphore : counter);
  }
  int status;
  while (::waitpid(child, &status, 0) < 0)
    if (errno != EINTR) return fail_errno("wait");
  if (!WIFEXITED(status) || WEXITSTATUS(status) == failed) return fail("reading the counter failed");
  return WEXITSTATUS(status) == semaphore;
}

Result<> dump(Dumping& dumping, std::span<const OpenFile> files) {
  for (const OpenFile& file : files) {
    auto count = parse_number<uint64_t>(trim(file.info.value("eventfd-count").value_or("")), 16);
    if (!count) return fail(file.object() + ": fdinfo tells no count");
    auto semaphore = file.info.value("eventfd-semaphore");  // since 6.5
    image::EventFd out;
    out.set_id(file.id);
    out.set_count(*count);
    out.set_flags(static_cast<uint32_t>(file.flags()));
    if (semaphore)
      out.set_semaphore(trim(*semaphore) == "1");
    else if (dumping.image && dumping.verdict.ready())  // nothing is disturbed only to be examined
      out.set_semaphore(TRY(in(file.object(), try_semaphore(file, *count))));
    dumping.put_file(kName, kVersion, out);
  }
  return {};
}

Result<Fds> make(Restoring&, std::span<const Envelope> envelopes) {
  Fds made;
  for (const Envelope& envelope : envelopes) {
    image::EventFd file;
    TRY(parse_body(envelope, file));
    Fd fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | (file.semaphore() ? EFD_SEMAPHORE : 0)));
    if (!fd) return fail_errno("eventfd");
    uint64_t count = file.count();
    if (count && ::write(fd.get(), &count, sizeof count) < 0) return fail_errno("eventfd");
    if (::fcntl(fd.get(), F_SETFL, static_cast<int>(file.flags()))) return fail_errno("eventfd flags");
    made.emplace(file.id(), std::move(fd));
  }
  return made;
}

}  // namespace

extern const Kind kEventfd;
const Kind kEventfd{.name = kName, .version = kVersion, .owns = owns, .dump = dump, .make = make, .disturbs = true};

}  // namespace ks::engine
