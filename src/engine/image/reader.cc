// SPDX-License-Identifier: LGPL-2.1-or-later
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>

#include "base/file.h"
#include "base/open_resolved.h"
#include "engine/image.pb.h"
#include "engine/image/store.h"

namespace ks::engine {

namespace {

constexpr uint64_t kMostManifestBytes = 64 << 20;

// Whoever can write to an image can become root when it is restored.
Result<> check_owner(const struct stat& facts) {
  if (facts.st_uid != 0 && facts.st_uid != ::geteuid()) return fail("does not belong to root", EPERM);
  if ((facts.st_mode & 077) != 0) return fail("is open to others than its owner", EPERM);
  return {};
}

struct OpenFile {
  Fd fd;
  uint64_t bytes = 0;
};

Result<OpenFile> open_image_file(int directory, const std::string& name) {
  // O_NONBLOCK: a FIFO that someone put here must not stop us.
  OpenFile file{.fd = TRY(open_resolved(directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY,
                                        RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH))};
  struct stat facts;
  if (::fstat(file.fd.get(), &facts)) return fail_errno(name);
  if (!S_ISREG(facts.st_mode)) return fail(name + ": not a regular file");
  TRY(in(name, check_owner(facts)));
  file.bytes = static_cast<uint64_t>(facts.st_size);
  return file;
}

Result<image::Manifest> read_manifest(int directory) {
  std::string name(kManifestName);
  auto opened = open_image_file(directory, name);
  if (!opened && opened.error().code == ENOENT) return fail("not an image of kernel-swap: it has no " + name);
  OpenFile file = TRY(std::move(opened));
  if (file.bytes > kMostManifestBytes) return fail(name + ": too long");
  std::string bytes(file.bytes, '\0');
  TRY(read_exactly(file.fd.get(), std::as_writable_bytes(std::span(bytes)), name));
  Envelope envelope = TRY(in(name, open_envelope(bytes, "manifest", kImageFormat)));
  image::Manifest manifest;
  TRY(in(name, parse_body(envelope, manifest)));
  if (manifest.format() == 0 || manifest.format() > kImageFormat)
    return fail(fmt::format("image of format {}, which this kernel-swap does not know (newest: {})",
                            manifest.format(), kImageFormat));
  return manifest;
}

Result<> compare_digest(const std::string& name, const std::string& found, const std::string& expected) {
  if (found != expected) return fail(name + ": damaged: wrong checksum");
  return {};
}

}  // namespace

Result<ImageReader> ImageReader::open(const std::string& directory) {
  // With a slash at the end a link would be followed in spite of O_NOFOLLOW.
  std::string path = directory;
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();

  auto read = [&]() -> Result<ImageReader> {
    ImageReader reader;
    int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return fail(strerrordesc_np(errno), errno);
    reader.fd_ = Fd(fd);
    struct stat facts;
    if (::fstat(fd, &facts)) return fail_errno("fstat");
    TRY(check_owner(facts));
    image::Manifest manifest = TRY(read_manifest(fd));
    utsname names;
    if (::uname(&names)) return fail_errno("uname");
    if (manifest.architecture() != names.machine)
      return fail(fmt::format("image of a machine of another architecture: {}", manifest.architecture()));
    for (const image::Manifest::File& file : manifest.files()) {
      if (!is_image_file_name(file.name()))
        return fail(fmt::format("manifest: \"{}\" is no name for a file of an image", file.name()));
      if (!reader.files_.try_emplace(file.name(), ImageFile{file.bytes(), file.digest()}).second)
        return fail(fmt::format("manifest: names {} twice", file.name()));
      TRY(reader.blob(file.name()));
    }
    reader.kernel_ = manifest.kernel();
    reader.architecture_ = manifest.architecture();
    reader.unit_ = manifest.unit();
    reader.created_ = manifest.created();
    reader.format_ = manifest.format();
    return reader;
  };
  return in(directory, read());
}

Result<ImageFile> ImageReader::file(const std::string& name) const {
  auto entry = files_.find(name);
  if (entry == files_.end()) return fail(name + ": not in the image", ENOENT);
  return entry->second;
}

Result<Fd> ImageReader::blob(const std::string& name) const {
  ImageFile expected = TRY(file(name));
  OpenFile opened = TRY(open_image_file(fd_.get(), name));
  if (opened.bytes != expected.bytes)
    return fail(fmt::format("{}: damaged: {} bytes instead of {}", name, opened.bytes, expected.bytes));
  ::posix_fadvise(opened.fd.get(), 0, 0, POSIX_FADV_SEQUENTIAL);
  return std::move(opened.fd);
}

Result<Fd> ImageReader::pin(const std::string& name, int flags) const {
  if (!is_image_file_name(name)) return fail(fmt::format("\"{}\": not a name for a file of an image", name), EINVAL);
  return open_at(fd_.get(), name, flags | O_NOFOLLOW | O_NOCTTY);
}

Result<std::string> ImageReader::read(const std::string& name) const {
  Fd fd = TRY(blob(name));
  ImageFile expected = TRY(file(name));
  std::string content(expected.bytes, '\0');
  TRY(read_exactly(fd.get(), std::as_writable_bytes(std::span(content)), name));
  TRY(compare_digest(name, Digest::of(content), expected.digest));
  return content;
}

Result<> verify_image(const ImageReader& image) {
  std::vector<std::byte> buffer(1 << 20);
  for (const auto& [name, file] : image.files()) {
    Fd fd = TRY(image.blob(name));
    Digest digest;
    for (uint64_t left = file.bytes; left > 0;) {
      auto part = std::span(buffer).first(std::min<uint64_t>(left, buffer.size()));
      TRY(read_exactly(fd.get(), part, name));
      digest.add(part);
      left -= part.size();
    }
    TRY(compare_digest(name, digest.finish(), file.digest));
  }
  return {};
}

}  // namespace ks::engine
