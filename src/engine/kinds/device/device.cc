// SPDX-License-Identifier: LGPL-2.1-or-later
// Character devices without state: /dev/null and its like (Documentation/admin-guide/devices.txt, major 1), and the
// kernel's log for those who only write to it. Who reads it has a place in it, which nobody tells.
//
// They are opened by number in our own /dev, not by path in the unit's: systemd opens a service's /dev/null before
// it enters the sandbox, and PrivateDevices= may offer others under the same names.
#include <fcntl.h>
#include <sys/sysmacros.h>

#include <array>

#include "base/file.h"
#include "engine/device.pb.h"
#include "engine/kinds/kind.h"

namespace ks::engine {

namespace {

constexpr std::string_view kName = "device";
constexpr uint32_t kVersion = 1;
constexpr unsigned kMemoryDevices = 1, kLog = 11;

struct Stateless {
  unsigned minor;
  const char* path;
};
constexpr std::array kStateless = {Stateless{3, "/dev/null"},    Stateless{5, "/dev/zero"},
                                   Stateless{7, "/dev/full"},    Stateless{8, "/dev/random"},
                                   Stateless{9, "/dev/urandom"}, Stateless{kLog, "/dev/kmsg"}};

const Stateless* find(unsigned minor_number) {
  for (const auto& device : kStateless)
    if (device.minor == minor_number) return &device;
  return nullptr;
}

bool owns(const OpenFile& file) {
  if (!S_ISCHR(file.stat.st_mode) || major(file.stat.st_rdev) != kMemoryDevices) return false;
  if (minor(file.stat.st_rdev) == kLog && (file.flags() & O_ACCMODE) != O_WRONLY) return false;
  return find(minor(file.stat.st_rdev));
}

Result<> dump(Dumping& dumping, std::span<const OpenFile> files) {
  for (const OpenFile& file : files) {
    image::Device out;
    out.set_id(file.id);
    out.set_minor(minor(file.stat.st_rdev));
    out.set_flags(static_cast<uint32_t>(file.flags()));
    dumping.put_file(kName, kVersion, out);
  }
  return {};
}

Result<Fds> make(Restoring&, std::span<const Envelope> envelopes) {
  Fds made;
  for (const Envelope& envelope : envelopes) {
    image::Device device;
    TRY(parse_body(envelope, device));
    const Stateless* known = find(device.minor());
    if (!known) return fail(fmt::format("memory device {} is unknown", device.minor()));
    Fd fd = TRY(open_file(known->path, static_cast<int>(device.flags()) | O_NOCTTY));
    struct stat found{};
    if (::fstat(fd.get(), &found)) return fail_errno(known->path);
    if (!S_ISCHR(found.st_mode) || found.st_rdev != makedev(kMemoryDevices, known->minor))
      return fail(std::string(known->path) + " is not the device it should be");
    made.emplace(device.id(), std::move(fd));
  }
  return made;
}

}  // namespace

extern const Kind kDevice;
const Kind kDevice{.name = kName, .version = kVersion, .owns = owns, .dump = dump, .make = make};

}  // namespace ks::engine
