// SPDX-License-Identifier: LGPL-2.1-or-later
// signalfd(2): a mask, told by fdinfo. What it delivers is in the queues of whoever reads it.
#include <fcntl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/text.h"
#include "engine/kinds/kind.h"
#include "engine/signalfd.pb.h"

namespace ks::engine {

namespace {

constexpr std::string_view kName = "signalfd";
constexpr uint32_t kVersion = 1;

bool owns(const OpenFile& file) { return file.link == "anon_inode:[signalfd]"; }

Result<> dump(Dumping& dumping, std::span<const OpenFile> files) {
  for (const OpenFile& file : files) {
    auto mask = parse_number<uint64_t>(file.info.value("sigmask").value_or(""), 16);
    if (!mask) return fail(file.object() + ": fdinfo tells no mask");
    image::SignalFd out;
    out.set_id(file.id);
    out.set_flags(static_cast<uint32_t>(file.flags()));
    out.set_mask(*mask);
    dumping.put_file(kName, kVersion, out);
  }
  return {};
}

Result<Fds> make(Restoring&, std::span<const Envelope> envelopes) {
  Fds made;
  for (const Envelope& envelope : envelopes) {
    image::SignalFd file;
    TRY(parse_body(envelope, file));
    uint64_t mask = file.mask();
    Fd fd(static_cast<int>(::syscall(SYS_signalfd4, -1, &mask, sizeof mask, SFD_CLOEXEC)));
    if (!fd) return fail_errno("signalfd");
    if (::fcntl(fd.get(), F_SETFL, static_cast<int>(file.flags()))) return fail_errno("signalfd flags");
    made.emplace(file.id(), std::move(fd));
  }
  return made;
}

}  // namespace

extern const Kind kSignalfd;
const Kind kSignalfd{.name = kName, .version = kVersion, .owns = owns, .dump = dump, .make = make};

}  // namespace ks::engine
