// SPDX-License-Identifier: LGPL-2.1-or-later
#include <dirent.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include <filesystem>

#include "base/file.h"
#include "engine/image.pb.h"
#include "engine/image/store.h"

namespace ks::engine {

namespace {

// Says that a directory is an image that was never finished.
constexpr const char* kMarker = "kernel-swap.partial";
// A dump may have more files than descriptors; these many wait to be synced at once.
constexpr size_t kMostUnsynced = 64;

Result<std::vector<std::string>> list_directory_at(int directory) {
  Fd again = TRY(open_at(directory, ".", O_RDONLY | O_DIRECTORY));
  std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(again.get()), ::closedir);
  if (!stream) return fail_errno("fdopendir");
  again.release();
  std::vector<std::string> names;
  errno = 0;
  while (dirent* entry = ::readdir(stream.get())) {
    std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
    errno = 0;
  }
  if (errno) return fail_errno("readdir");
  return names;
}

// An image is flat, so what cannot be unlinked is not ours. The manifest goes first: what is left if we die
// on the way is no image. The marker goes last, and is put back where it has gone: what is left can be told to be
// ours.
Result<> remove_image(int parent, const std::string& name, int directory) {
  TRY(open_at(directory, kMarker, O_WRONLY | O_CREAT | O_NOFOLLOW));
  if (::unlinkat(directory, std::string(kManifestName).c_str(), 0) && errno != ENOENT) return fail_errno(name);
  auto files = TRY(list_directory_at(directory));
  for (const std::string& file : files)
    if (file != kMarker && ::unlinkat(directory, file.c_str(), 0)) return fail_errno(file);
  if (::unlinkat(directory, kMarker, 0) && errno != ENOENT) return fail_errno(name);
  if (::unlinkat(parent, name.c_str(), AT_REMOVEDIR)) return fail_errno(name);
  return {};
}

bool exists_at(int directory, const char* name) {
  struct stat facts;
  return ::fstatat(directory, name, &facts, AT_SYMLINK_NOFOLLOW) == 0;
}

// renameat2 with RENAME_NOREPLACE, and what comes nearest where the file system has no such thing.
int rename_to_new(int parent, const std::string& from, const std::string& to) {
  int result = ::renameat2(parent, from.c_str(), parent, to.c_str(), RENAME_NOREPLACE);
  if (result == 0 || errno != EINVAL) return result;
  if (exists_at(parent, to.c_str())) {
    errno = EEXIST;
    return -1;
  }
  return ::renameat(parent, from.c_str(), parent, to.c_str());
}

}  // namespace

bool is_image_file_name(std::string_view name) {
  return !name.empty() && name.size() <= 255 && name.find('/') == std::string_view::npos &&
         name.find('\0') == std::string_view::npos && name != "." && name != ".." && name != kManifestName &&
         name != kMarker;
}

Result<ImageWriter> ImageWriter::create(const std::string& directory) {
  std::filesystem::path path(directory);
  if (!path.has_filename()) path = path.parent_path();  // "a/b/"
  std::string name = path.filename();
  if (name.empty() || name == "." || name == "..") return fail(directory + ": not a name for an image", EINVAL);
  std::string parent = path.parent_path();
  Fd parent_fd = TRY(open_file(parent.empty() ? "." : parent, O_RDONLY | O_DIRECTORY));
  if (exists_at(parent_fd.get(), name.c_str())) return fail_errno(directory, EEXIST);
  ImageWriter writer(path, std::move(name), std::move(parent_fd));
  TRY(in(writer.directory_, writer.make_directory()));
  return writer;
}

Result<> ImageWriter::make_directory() {
  TRY(in(partial(), remove_leftover()));
  if (::mkdirat(parent_.get(), partial().c_str(), 0700)) return fail_errno(partial());
  fd_ = TRY(open_at(parent_.get(), partial(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  // Held as long as we live: it tells a dump at work from one that was killed.
  if (::flock(fd_.get(), LOCK_EX | LOCK_NB)) return fail_errno(partial());
  current_ = partial();
  if (::fchmod(fd_.get(), 0700)) return fail_errno(current_);
  TRY(open_at(fd_.get(), kMarker, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW));
  return {};
}

Result<> ImageWriter::remove_leftover() {
  auto opened = open_at(parent_.get(), partial(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  if (!opened && opened.error().code == ENOENT) return {};
  Fd leftover = TRY(std::move(opened));
  struct stat facts;
  if (::fstat(leftover.get(), &facts)) return fail_errno("fstat");
  // Empty is what a dump leaves that dies before it has written the marker; with a manifest and without the
  // marker, one that dies before the rename.
  bool marked = exists_at(leftover.get(), kMarker) || exists_at(leftover.get(), std::string(kManifestName).c_str()) ||
                TRY(list_directory_at(leftover.get())).empty();
  if (facts.st_uid != ::geteuid() || (facts.st_mode & 07777) != 0700 || !marked)
    return fail("exists and is not what an interrupted dump leaves; remove it first", EEXIST);
  if (::flock(leftover.get(), LOCK_EX | LOCK_NB))
    return errno == EWOULDBLOCK ? fail("another dump is writing here", EBUSY) : fail_errno("flock");
  return remove_image(parent_.get(), partial(), leftover.get());
}

ImageWriter::~ImageWriter() {
  if (current_.empty()) return;
  // Nobody is left to tell: what stays is removed by the next dump to this name.
  (void)remove_image(parent_.get(), current_, fd_.get());
}

Result<> ImageWriter::put(const std::string& name, std::string_view envelopes) {
  BlobWriter writer = TRY(blob(name));
  TRY(writer.append(std::as_bytes(std::span(envelopes))));
  return finish(std::move(writer));
}

Result<BlobWriter> ImageWriter::blob(const std::string& name) {
  if (!is_image_file_name(name)) return fail(fmt::format("\"{}\": not a name for a file of an image", name), EINVAL);
  Fd file = TRY(open_at(fd_.get(), name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW));
  files_[name];
  return BlobWriter(name, std::move(file));
}

Result<> ImageWriter::finish(BlobWriter blob) {
  auto entry = files_.find(blob.name());
  if (entry == files_.end() || entry->second.finished)
    return fail(blob.name() + ": not a file of this image", EINVAL);
  unsynced_.emplace(blob.name(), TRY(blob.flush()));
  entry->second = {.bytes = blob.size(), .digest = blob.digest(), .finished = true};
  if (unsynced_.size() >= kMostUnsynced) return sync_files();
  return {};
}

Result<> ImageWriter::pin(const std::string& name, const std::string& link) const {
  if (!is_image_file_name(name)) return fail(fmt::format("\"{}\": not a name for a file of an image", name), EINVAL);
  if (::linkat(AT_FDCWD, link.c_str(), fd_.get(), name.c_str(), AT_SYMLINK_FOLLOW)) return fail_errno(name);
  return {};
}

Result<> ImageWriter::sync_files() {
  for (const auto& [name, fd] : unsynced_)
    if (::fsync(fd.get())) return fail_errno(name);
  unsynced_.clear();
  return {};
}

Result<> ImageWriter::write_manifest(std::string_view unit) {
  utsname names;
  if (::uname(&names)) return fail_errno("uname");
  image::Manifest manifest;
  manifest.set_format(kImageFormat);
  manifest.set_architecture(names.machine);
  manifest.set_kernel(names.release);
  manifest.set_unit(std::string(unit));
  manifest.set_created(::time(nullptr));
  for (const auto& [name, entry] : files_) {
    if (!entry.finished) return fail(name + ": was never finished");
    image::Manifest::File& file = *manifest.add_files();
    file.set_name(name);
    file.set_bytes(entry.bytes);
    file.set_digest(entry.digest);
  }
  std::string name(kManifestName);
  Fd file = TRY(open_at(fd_.get(), name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW));
  TRY(write_all(file.get(), seal("manifest", kImageFormat, manifest), name));
  if (::fsync(file.get())) return fail_errno(name);
  return {};
}

Result<> ImageWriter::commit(std::string_view unit) {
  TRY(in(directory_, sync_files()));
  TRY(in(directory_, write_manifest(unit)));
  if (::unlinkat(fd_.get(), kMarker, 0) || ::fsync(fd_.get())) return fail_errno(directory_);
  if (rename_to_new(parent_.get(), current_, name_)) return fail_errno(directory_);
  current_ = name_;
  if (::fsync(parent_.get())) return fail_errno(directory_);
  current_.clear();
  return {};
}

}  // namespace ks::engine
