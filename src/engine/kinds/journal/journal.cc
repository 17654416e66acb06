// SPDX-License-Identifier: LGPL-2.1-or-later
// A service's standard output: a stream to systemd-journald, connected anew as the same unit. The protocol is the
// one that sd_journal_stream_fd(3) speaks: a header of lines, then lines of text.
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <cstring>

#include "base/file.h"
#include "engine/journal.pb.h"
#include "engine/kinds/kind.h"

namespace ks::engine {

namespace {

constexpr std::string_view kName = "journal-stream";
constexpr uint32_t kVersion = 1;
constexpr char kSocket[] = "/run/systemd/journal/stdout";

bool owns(const OpenFile& file) {
  if (!file.socket || file.socket->family != AF_UNIX || file.socket->type != SOCK_STREAM) return false;
  auto fd = file.fetch();
  if (!fd) return false;
  // The far end's name is that of the socket it was accepted from.
  sockaddr_un peer{};
  socklen_t length = sizeof peer;
  if (::getpeername(fd->get(), reinterpret_cast<sockaddr*>(&peer), &length) || peer.sun_family != AF_UNIX)
    return false;
  return std::string_view(peer.sun_path, strnlen(peer.sun_path, sizeof peer.sun_path)) == kSocket;
}

Result<> dump(Dumping& dumping, std::span<const OpenFile> files) {
  const JournalIdentity& identity = dumping.options.journal;
  for (const OpenFile& file : files) {
    image::JournalStream out;
    out.set_id(file.id);
    out.set_flags(static_cast<uint32_t>(file.flags()));
    out.set_unit(identity.unit);
    out.set_identifier(identity.identifier);
    out.set_priority(identity.priority);
    out.set_level_prefix(identity.level_prefix);
    dumping.put_file(kName, kVersion, out);
  }
  return {};
}

Result<Fd> connect_stream(const image::JournalStream& stream) {
  Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return fail_errno("socket");
  sockaddr_un address{.sun_family = AF_UNIX};
  std::memcpy(address.sun_path, kSocket, sizeof kSocket);
  if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address)) return fail_errno(kSocket);
  // As systemd sets it for a service: the journal's side sends nothing.
  if (::shutdown(fd.get(), SHUT_RD)) return fail_errno(kSocket);
  // Identifier, unit, priority, level prefix, and no forwarding to syslog, kmsg and console.
  TRY(write_all(fd.get(),
                fmt::format("{}\n{}\n{}\n{}\n0\n0\n0\n", stream.identifier(), stream.unit(), stream.priority(),
                            stream.level_prefix() ? 1 : 0),
                kSocket));
  return fd;
}

Result<Fds> make(Restoring&, std::span<const Envelope> envelopes) {
  Fds made;
  for (const Envelope& envelope : envelopes) {
    image::JournalStream stream;
    TRY(parse_body(envelope, stream));
    Fd fd = TRY(connect_stream(stream));
    if (::fcntl(fd.get(), F_SETFL, static_cast<int>(stream.flags()))) return fail_errno("journal stream flags");
    made.emplace(stream.id(), std::move(fd));
  }
  return made;
}

}  // namespace

extern const Kind kJournal;
const Kind kJournal{.name = kName, .version = kVersion, .owns = owns, .dump = dump, .make = make};

}  // namespace ks::engine
