// SPDX-License-Identifier: LGPL-2.1-or-later
// Namespaces that are held open by a descriptor (namespaces(7)). One is found again by a process that is in it.
#include <linux/magic.h>

#include <algorithm>
#include <array>

#include "base/text.h"
#include "engine/kernel/namespace.h"
#include "engine/kinds/kind.h"
#include "engine/namespace_file.pb.h"

namespace ks::engine {

namespace {

constexpr std::string_view kName = "namespace";
constexpr uint32_t kVersion = 1;

bool owns(const OpenFile& file) { return file.file_system == NSFS_MAGIC && !(file.info.flags & O_PATH); }

// A process in the namespace, 0 for the system's own; nothing: nobody is in it whom we know.
Result<std::optional<pid_t>> find_member(const Dumping& dumping, const std::string& wanted, std::string_view type) {
  for (const StoppedProcess& process : dumping.processes)
    if (!process.zombie && TRY(namespace_of(process.pid, type)) == wanted) return process.pid;
  if (TRY(namespace_of(::getpid(), type)) == wanted) return 0;
  return std::nullopt;
}

Result<> dump_one(Dumping& dumping, const OpenFile& file) {
  std::string_view type = file.link;  // "net:[4026531840]"
  type = take_until(type, ':');
  auto whose = TRY(find_member(dumping, file.link, type));
  if (!whose) return refuse("is a namespace in which none of its processes is, which is not supported yet");
  image::NamespaceFile out;
  out.set_id(file.id);
  out.set_type(std::string(type));
  out.set_whose(*whose);
  dumping.put_file(kName, kVersion, out);
  return {};
}

Result<> dump(Dumping& dumping, std::span<const OpenFile> files) { return dump_each(dumping, files, dump_one); }

Result<Fd> make_one(Restoring&, const image::NamespaceFile& file) {
  constexpr std::array kOthers = {"time"};
  auto is_type = [&](const auto& type) { return type == file.type(); };
  if (std::ranges::none_of(kNamespaceTypes, is_type, &NamespaceType::name) && std::ranges::none_of(kOthers, is_type))
    return fail("a namespace of an unknown type");
  return open_namespace(file.whose() ? file.whose() : ::getpid(), file.type());
}

Result<Fds> make(Restoring& restoring, std::span<const Envelope> envelopes) {
  return make_each<image::NamespaceFile>(restoring, envelopes, make_one);
}

}  // namespace

extern const Kind kNamespaceFile;
const Kind kNamespaceFile{
    .name = kName, .version = kVersion, .owns = owns, .dump = dump, .make = make, .of_processes = true};

}  // namespace ks::engine
