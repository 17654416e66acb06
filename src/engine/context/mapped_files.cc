// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/context/mapped_files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/file.h"
#include "engine/kernel/elf.h"
#include "engine/mapped_files.pb.h"
#include "engine/target/process.h"

namespace ks::engine {

namespace {

constexpr std::string_view kKind = "mapped-files";
constexpr uint32_t kVersion = 1;
constexpr const char* kFileName = "mapped-files.ks";

std::string pin_name(uint32_t id) { return fmt::format("pin-{}", id); }

bool is_same_file(const MappedFile& file, const struct stat& found) {
  return (file.refilled || found.st_ino == file.inode) && static_cast<uint64_t>(found.st_size) == file.bytes &&
         found.st_mtim.tv_sec == file.modified_seconds && found.st_mtim.tv_nsec == file.modified_nanoseconds &&
         found.st_mode == file.mode;
}

// A shared mapping has what others write, as the journal's has to who reads it: size and time may have moved on.
Result<bool> is_acceptable(const MappedFile& file, int fd) {
  struct stat found{};
  if (::fstat(fd, &found)) return fail_errno(file.path);
  if (file.shared && file.refilled)
    return found.st_mode == file.mode && static_cast<uint64_t>(found.st_size) == file.bytes;
  if (file.shared) return found.st_ino == file.inode && found.st_mode == file.mode;
  return is_same_file(file, found) && (file.build_id.empty() || read_build_id(fd) == file.build_id);
}

// To open it could break a lease (fcntl(2)), for which O_NONBLOCK does not wait.
std::string build_id_of(const std::string& link) {
  auto opened = open_file(link, O_RDONLY | O_NONBLOCK);
  return opened ? read_build_id(opened->get()) : "";
}

Result<Fd> open_mapped(const MappedFile& file, const ImageReader& image, int root) {
  int flags = file.writable ? O_RDWR : O_RDONLY;
  auto named = open_in_root(root, file.path, flags | O_NOCTTY | O_NONBLOCK);
  if (named && TRY(is_acceptable(file, named->get()))) return named;
  if (file.handle) {
    auto found = open_by_handle(root, *file.handle, file.path, flags);
    if (found && TRY(is_acceptable(file, found->get()))) return found;
  }
  auto pinned = image.pin(pin_name(file.id), flags);
  if (pinned && TRY(is_acceptable(file, pinned->get()))) return pinned;
  if (!named) return named;
  return fail(file.path + ": not the file that was mapped; it has been replaced or changed");
}

}  // namespace

Result<uint32_t> MappedFiles::add(const MountView& view, const std::string& link, const std::string& path,
                                  bool shared, bool writable, bool refilled, std::optional<uint32_t> carried) {
  struct stat mapped{};
  if (::stat(link.c_str(), &mapped)) return fail_errno(link);
  auto key = std::tuple(mapped.st_dev, mapped.st_ino, shared, writable, carried);
  if (auto known = by_inode_.find(key); known != by_inode_.end()) return known->second;
  if (!S_ISREG(mapped.st_mode)) return refuse("maps something that is not a regular file: " + path);

  std::optional<FileHandle> handle;
  bool named = leads_to(view.root.get(), path, mapped);
  if (!carried && !named) {
    auto told = HandleFinder(view).handle_of(link);
    if (!told) return refuse(path + ": its path leads elsewhere now, and it " + told.error().what);
    handle = *std::move(told);
  }

  uint32_t id = static_cast<uint32_t>(known_.size());
  known_.push_back({{.id = id,
                     .path = path,
                     .inode = mapped.st_ino,
                     .bytes = static_cast<uint64_t>(mapped.st_size),
                     .modified_seconds = mapped.st_mtim.tv_sec,
                     .modified_nanoseconds = mapped.st_mtim.tv_nsec,
                     .mode = mapped.st_mode,
                     .shared = shared,
                     .writable = writable,
                     .build_id = shared ? "" : build_id_of(link),
                     .carried = carried,
                     .handle = std::move(handle),
                     .refilled = refilled && named},
                    link});
  by_inode_.emplace(key, id);
  return id;
}

Result<> MappedFiles::dump(ImageWriter& image) const {
  image::MappedFileList list;
  for (const auto& [file, link] : known_) {
    auto* out = list.add_files();
    out->set_id(file.id);
    out->set_path(file.path);
    out->set_inode(file.inode);
    out->set_bytes(file.bytes);
    out->set_modified_seconds(file.modified_seconds);
    out->set_modified_nanoseconds(file.modified_nanoseconds);
    out->set_mode(file.mode);
    out->set_shared(file.shared);
    out->set_writable(file.writable);
    out->set_build_id(file.build_id);
    if (file.carried) out->set_carried(*file.carried);
    out->set_refilled(file.refilled);
    if (file.handle) {
      out->mutable_handle()->set_mount(file.handle->mount);
      out->mutable_handle()->set_type(file.handle->type);
      out->mutable_handle()->set_bytes(file.handle->bytes);
    }
    // Another file system, or one without hard links: then only an unchanged file can be restored from.
    if (!file.writable && !file.carried && !file.refilled) (void)image.pin(pin_name(file.id), link);
  }
  return image.put(kFileName, seal(kKind, kVersion, list));
}

Result<std::map<uint32_t, Fd>> open_mapped_files(const ImageReader& image, int root, const RemadeFiles& carried) {
  Envelope envelope = TRY(in(kFileName, open_envelope(TRY(image.read(kFileName)), kKind, kVersion)));
  image::MappedFileList list;
  TRY(parse_body(envelope, list));
  std::map<uint32_t, Fd> opened;
  for (const auto& entry : list.files()) {
    if (entry.has_carried()) {
      auto content = carried.files.find(entry.carried());
      if (content == carried.files.end()) return fail(entry.path() + ": its content is missing");
      opened.emplace(entry.id(),
                     TRY(in(entry.path(), reopen(content->second.get(), entry.writable() ? O_RDWR : O_RDONLY))));
      continue;
    }
    MappedFile file{.id = entry.id(),
                    .path = entry.path(),
                    .inode = entry.inode(),
                    .bytes = entry.bytes(),
                    .modified_seconds = entry.modified_seconds(),
                    .modified_nanoseconds = entry.modified_nanoseconds(),
                    .mode = entry.mode(),
                    .shared = entry.shared() || entry.writable(),
                    .writable = entry.writable(),
                    .build_id = entry.build_id(),
                    .refilled = entry.refilled()};
    if (entry.has_handle())
      file.handle = FileHandle{entry.handle().mount(), entry.handle().type(), entry.handle().bytes()};
    opened.emplace(file.id, TRY(open_mapped(file, image, root)));
  }
  return opened;
}

}  // namespace ks::engine
