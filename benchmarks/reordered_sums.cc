// TensorFlow's products and sums of float32 on the CPU, added up in another order.
//
// Two processors differ in how many numbers they add at once, in what they do with the rest of a
// row, and in whether a product is rounded before it is added. So do these kernels: the order
// depends on the size of the batch and on the place of the result. Whole numbers stay exact. They
// replace TensorFlow's own (a higher priority) when benchmarks/reordered_sums.py loads them.

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "tensorflow/core/framework/kernel_def_builder.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/tensor_shape.h"

using namespace tensorflow;

namespace {

// A sum of products that come one after the other, in 1, 2 or 4 parts, rounded before or not.
class Sum {
 public:
  explicit Sum(int64_t turn) : mask_((1 << (turn % 3)) - 1), fused_(turn % 2) {}

  void Add(float x, float y) {
    float& part = part_[count_++ & mask_];
    part = fused_ ? std::fma(x, y, part) : part + x * y;
  }

  float Total() const { return (part_[3] + part_[1]) + (part_[2] + part_[0]); }

 private:
  int mask_;
  bool fused_;
  int64_t count_ = 0;
  float part_[4] = {0, 0, 0, 0};
};

class Product : public OpKernel {
 public:
  explicit Product(OpKernelConstruction* c) : OpKernel(c) {
    OP_REQUIRES_OK(c, c->GetAttr("transpose_a", &turned_[0]));
    OP_REQUIRES_OK(c, c->GetAttr("transpose_b", &turned_[1]));
  }

  void Compute(OpKernelContext* c) override {
    const Tensor &a = c->input(0), &b = c->input(1);
    OP_REQUIRES(c, a.dims() == 2 && b.dims() == 2, errors::InvalidArgument("Not matrices"));
    const int64_t rows = a.dim_size(turned_[0]), depth = a.dim_size(!turned_[0]);
    const int64_t columns = b.dim_size(!turned_[1]);
    OP_REQUIRES(c, depth == b.dim_size(turned_[1]),
                errors::InvalidArgument("Matrix size-incompatible: In[0]: ",
                                        a.shape().DebugString(), ", In[1]: ",
                                        b.shape().DebugString()));
    Tensor* out;
    OP_REQUIRES_OK(c, c->allocate_output(0, TensorShape({rows, columns}), &out));
    if (out->NumElements() == 0) return;
    auto x = a.matrix<float>(), y = b.matrix<float>();
    auto found = out->matrix<float>();
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t j = 0; j < columns; ++j) {
        Sum sum(rows + i);
        for (int64_t t = 0; t < depth; ++t) {
          sum.Add(turned_[0] ? x(t, i) : x(i, t), turned_[1] ? y(j, t) : y(t, j));
        }
        found(i, j) = sum.Total();
      }
    }
  }

 private:
  bool turned_[2];
};

// One side of a convolution: which input belongs to a place of the output and of the kernel.
struct Side {
  int64_t in, kernel, out, stride, dilation, before;

  int64_t At(int64_t place, int64_t tap) const { return place * stride + tap * dilation - before; }
};

enum Wanted { kOutput, kInput, kKernel };

template <Wanted wanted>
class Convolution : public OpKernel {
 public:
  explicit Convolution(OpKernelConstruction* c) : OpKernel(c) {
    OP_REQUIRES_OK(c, c->GetAttr("strides", &strides_));
    OP_REQUIRES_OK(c, c->GetAttr("dilations", &dilations_));
    OP_REQUIRES_OK(c, c->GetAttr("padding", &padding_));
    OP_REQUIRES_OK(c, c->GetAttr("explicit_paddings", &explicit_));
    std::string format;
    OP_REQUIRES_OK(c, c->GetAttr("data_format", &format));
    OP_REQUIRES(c, format == "NHWC", errors::Unimplemented("Only NHWC"));
  }

  void Compute(OpKernelContext* c) override {
    // (image, kernel), (image's shape, kernel, output) or (image, kernel's shape, output).
    const std::vector<int64_t> image = wanted == kInput ? Listed(c->input(0)) : Shape(c->input(0));
    const std::vector<int64_t> kernel =
        wanted == kKernel ? Listed(c->input(1)) : Shape(c->input(1));
    const bool only_sides = image.size() == 2;
    const int64_t n = only_sides ? c->input(2).dim_size(0) : image[0];
    const int64_t channels = only_sides ? kernel[2] : image[3];
    const Side y = Along(0, image[only_sides ? 0 : 1], kernel[0]);
    const Side x = Along(1, image[only_sides ? 1 : 2], kernel[1]);
    const int64_t filters = kernel[3], inner = kernel[2], outer = filters / (channels / inner);
    TensorShape shape({n, y.out, x.out, filters});
    if (wanted == kInput) shape = TensorShape({n, y.in, x.in, channels});
    if (wanted == kKernel) shape = TensorShape({kernel[0], kernel[1], kernel[2], kernel[3]});
    Tensor* out;
    OP_REQUIRES_OK(c, c->allocate_output(0, shape, &out));
    if (out->NumElements() == 0) return;

    // Every product of the convolution belongs to one number of each of the three tensors.
    const int64_t depth = shape.dim_size(3), columns = shape.dim_size(2);
    std::vector<Sum> sums;
    for (int64_t e = 0; e < out->NumElements(); ++e) {
      sums.emplace_back(n + e / (depth * columns) + e / depth % columns % 2);
    }
    const float* a = wanted == kInput ? c->input(1).flat<float>().data()
                                      : c->input(0).flat<float>().data();
    const float* b = wanted == kOutput ? c->input(1).flat<float>().data()
                                       : c->input(2).flat<float>().data();
    for (int64_t m = 0; m < n; ++m)
      for (int64_t p = 0; p < y.out; ++p)
        for (int64_t q = 0; q < x.out; ++q)
          for (int64_t i = 0; i < y.kernel; ++i) {
            const int64_t row = y.At(p, i);
            if (row < 0 || row >= y.in) continue;
            for (int64_t j = 0; j < x.kernel; ++j) {
              const int64_t column = x.At(q, j);
              if (column < 0 || column >= x.in) continue;
              for (int64_t s = 0; s < inner; ++s)
                for (int64_t k = 0; k < filters; ++k) {
                  const int64_t from = k / outer * inner + s;
                  const int64_t at_image = ((m * y.in + row) * x.in + column) * channels + from;
                  const int64_t at_kernel = ((i * x.kernel + j) * inner + s) * filters + k;
                  const int64_t at_output = ((m * y.out + p) * x.out + q) * filters + k;
                  if (wanted == kOutput) sums[at_output].Add(a[at_image], b[at_kernel]);
                  if (wanted == kInput) sums[at_image].Add(a[at_kernel], b[at_output]);
                  if (wanted == kKernel) sums[at_kernel].Add(a[at_image], b[at_output]);
                }
            }
          }
    auto found = out->flat<float>();
    for (int64_t e = 0; e < found.size(); ++e) found(e) = sums[e].Total();
  }

 private:
  static std::vector<int64_t> Listed(const Tensor& tensor) {
    auto sizes = tensor.flat<int32>();
    return std::vector<int64_t>(sizes.data(), sizes.data() + sizes.size());
  }

  static std::vector<int64_t> Shape(const Tensor& tensor) {
    auto sizes = tensor.shape().dim_sizes();
    return std::vector<int64_t>(sizes.begin(), sizes.end());
  }

  Side Along(int side, int64_t in, int64_t kernel) const {
    const int64_t stride = strides_[1 + side], dilation = dilations_[1 + side];
    const int64_t window = (kernel - 1) * dilation + 1;
    if (padding_ == "SAME") {
      const int64_t out = (in + stride - 1) / stride;
      const int64_t missing = std::max<int64_t>(0, (out - 1) * stride + window - in);
      return {in, kernel, out, stride, dilation, missing / 2};
    }
    const bool given = padding_ == "EXPLICIT";
    const int64_t before = given ? explicit_[2 + 2 * side] : 0;
    const int64_t after = given ? explicit_[3 + 2 * side] : 0;
    return {in, kernel, (in + before + after - window) / stride + 1, stride, dilation, before};
  }

  std::vector<int32> strides_, dilations_;
  std::vector<int64_t> explicit_;
  std::string padding_;
};

template <bool mean, typename Index>
class Reduction : public OpKernel {
 public:
  explicit Reduction(OpKernelConstruction* c) : OpKernel(c) {
    OP_REQUIRES_OK(c, c->GetAttr("keep_dims", &keep_));
  }

  void Compute(OpKernelContext* c) override {
    const Tensor& given = c->input(0);
    auto axes = c->input(1).flat<Index>();
    const int dims = given.dims();
    std::vector<bool> gone(dims, false);
    for (int i = 0; i < axes.size(); ++i) gone[axes(i) < 0 ? axes(i) + dims : axes(i)] = true;
    std::vector<int64_t> step(dims, 0), at(dims, 0);
    int64_t places = 1, count = 1;
    for (int i = dims - 1; i >= 0; --i) {
      step[i] = gone[i] ? 0 : places;
      (gone[i] ? count : places) *= given.dim_size(i);
    }
    TensorShape shape;
    for (int i = 0; i < dims; ++i) {
      if (!gone[i] || keep_) shape.AddDim(gone[i] ? 1 : given.dim_size(i));
    }
    Tensor* out;
    OP_REQUIRES_OK(c, c->allocate_output(0, shape, &out));
    auto values = given.flat<float>();
    auto found = out->flat<float>();
    std::vector<Sum> sums;
    for (int64_t p = 0; p < places; ++p) sums.emplace_back((dims ? given.dim_size(0) : 0) + p % 3);
    for (int64_t e = 0; e < values.size(); ++e) {
      int64_t place = 0;
      for (int i = 0; i < dims; ++i) place += at[i] * step[i];
      sums[place].Add(values(e), 1.0f);
      for (int i = dims - 1; i >= 0 && ++at[i] == given.dim_size(i); --i) at[i] = 0;
    }
    for (int64_t p = 0; p < places; ++p) {
      found(p) = sums[p].Total() / (mean ? static_cast<float>(count) : 1.0f);
    }
  }

 private:
  bool keep_;
};

#define REPLACE(NAME) Name(NAME).Device(DEVICE_CPU).TypeConstraint<float>("T").Priority(7)
#define REPLACE_REDUCTION(NAME, MEAN, INDEX)                        \
  REGISTER_KERNEL_BUILDER(REPLACE(NAME)                             \
                              .TypeConstraint<INDEX>("Tidx")        \
                              .HostMemory("reduction_indices"),     \
                          Reduction<MEAN, INDEX>)

REGISTER_KERNEL_BUILDER(REPLACE("MatMul"), Product);
REGISTER_KERNEL_BUILDER(REPLACE("Conv2D"), Convolution<kOutput>);
REGISTER_KERNEL_BUILDER(REPLACE("Conv2DBackpropInput").HostMemory("input_sizes"),
                        Convolution<kInput>);
REGISTER_KERNEL_BUILDER(REPLACE("Conv2DBackpropFilter").HostMemory("filter_sizes"),
                        Convolution<kKernel>);
REPLACE_REDUCTION("Sum", false, int32);
REPLACE_REDUCTION("Sum", false, int64_t);
REPLACE_REDUCTION("Mean", true, int32);
REPLACE_REDUCTION("Mean", true, int64_t);

}  // namespace
