// SPDX-License-Identifier: LGPL-2.1-or-later
// A directory that holds one image. It appears under its name only when all of it is on disk.
//
// It is filled under the name "NAME.partial", synced and renamed; the manifest, written last, holds size and
// checksum of every other file. The directory is root's alone (0700), its files 0600, and no link is
// followed.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/fd.h"
#include "base/result.h"
#include "engine/image/digest.h"
#include "engine/image/envelope.h"

namespace ks::engine {

inline constexpr uint32_t kImageFormat = 1;
inline constexpr std::string_view kManifestName = "manifest.ks";

// A name that a file of an image can have: one part of a path, and not one that the store itself uses.
bool is_image_file_name(std::string_view name);

// A file of raw bytes on its way to the disk. What has been filled in is written while the caller reads more,
// past the page cache where the file system can.
class BlobWriter {
 public:
  BlobWriter(BlobWriter&&) noexcept;
  BlobWriter& operator=(BlobWriter&&) noexcept;
  ~BlobWriter();

  // Memory for the next bytes, never none and never more than 1 MiB; filled() says how many were put there.
  // The error of a write may come with a later call.
  std::span<std::byte> room();
  Result<> filled(size_t bytes);
  // The same for bytes that lie elsewhere, at the price of a copy.
  Result<> append(std::span<const std::byte> bytes);
  uint64_t size() const;

 private:
  friend class ImageWriter;
  struct State;
  BlobWriter(std::string name, Fd fd);
  const std::string& name() const;
  std::string digest() const;
  Result<Fd> flush();  // when all bytes have been handed to the kernel
  std::unique_ptr<State> state_;
};

class ImageWriter {
 public:
  // `directory` must not exist, its parent must. What a killed dump left there under the partial name is
  // removed first if it is ours (our user's, 0700, with our marker file), and is an error else; so is one
  // that a living dump still fills.
  static Result<ImageWriter> create(const std::string& directory);
  ImageWriter(ImageWriter&&) noexcept = default;
  ImageWriter& operator=(ImageWriter&&) = delete;
  ~ImageWriter();  // removes all that was written unless committed

  // A file of one or more envelopes.
  Result<> put(const std::string& name, std::string_view envelopes);
  Result<BlobWriter> blob(const std::string& name);
  Result<> finish(BlobWriter blob);
  // A hard link to the file that `link` (a magic link of /proc) leads to. It is no file of the manifest: what it
  // names is checked by whoever opens it. Another file system, or one without hard links, is an error.
  Result<> pin(const std::string& name, const std::string& link) const;

  // Manifest (kernel, architecture, unit, time, every file), sync of every file and of the directory, rename,
  // sync of the parent. After it the image exists. On an error nothing is left once this object ends.
  Result<> commit(std::string_view unit);

 private:
  struct Entry {
    uint64_t bytes = 0;
    std::string digest;
    bool finished = false;
  };
  ImageWriter(std::string directory, std::string name, Fd parent)
      : directory_(std::move(directory)), name_(std::move(name)), parent_(std::move(parent)) {}
  std::string partial() const { return name_ + ".partial"; }
  Result<> make_directory();
  Result<> remove_leftover();
  Result<> write_manifest(std::string_view unit);
  Result<> sync_files();

  std::string directory_, name_;  // as asked for; its last part
  Fd parent_, fd_;
  std::string current_;  // the name in `parent_` that the directory has now
  std::map<std::string, Entry> files_;
  std::map<std::string, Fd> unsynced_;
};

struct ImageFile {
  uint64_t bytes = 0;
  std::string digest;
};

class ImageReader {
 public:
  // Checks owner, mode, manifest, architecture, format and the size of every file; checksums are compared as
  // files are read. An image of a newer format or of another architecture is an error that says so.
  static Result<ImageReader> open(const std::string& directory);

  // A whole file, its checksum compared.
  Result<std::string> read(const std::string& name) const;
  // A file to read piecewise; the caller adds what it reads to a Digest and compares with file(name).digest.
  Result<Fd> blob(const std::string& name) const;
  Result<ImageFile> file(const std::string& name) const;
  Result<Fd> pin(const std::string& name, int flags) const;
  int directory() const { return fd_.get(); }
  const std::map<std::string, ImageFile>& files() const { return files_; }

  const std::string& kernel() const { return kernel_; }
  const std::string& architecture() const { return architecture_; }
  const std::string& unit() const { return unit_; }
  int64_t created() const { return created_; }  // seconds since 1970
  uint32_t format() const { return format_; }

 private:
  ImageReader() = default;
  Fd fd_;
  std::map<std::string, ImageFile> files_;
  std::string kernel_, architecture_, unit_;
  int64_t created_ = 0;
  uint32_t format_ = 0;
};

// Compares the checksum of every file.
Result<> verify_image(const ImageReader& image);

}  // namespace ks::engine
