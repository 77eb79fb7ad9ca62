// Eigen as a peer: kernels_peers.py compiles this when it is told where Eigen's headers are.
#include <Eigen/Dense>

namespace {

using RowMajor = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Input = Eigen::Map<const RowMajor>;
using Output = Eigen::Map<RowMajor>;

}  // namespace

// Divide and conquer. u and vt may be null.
extern "C" void eigen_bdc(const float* a, long rows, long columns, long rank, float* u, float* s, float* vt) {
  const Input matrix(a, rows, columns);
  const unsigned options = u == nullptr ? 0U : Eigen::ComputeThinU | Eigen::ComputeThinV;
  const Eigen::BDCSVD<Eigen::MatrixXf> svd(matrix, options);
  Eigen::Map<Eigen::VectorXf>(s, rank) = svd.singularValues().head(rank);
  if (u == nullptr) return;
  Output(u, rows, rank) = svd.matrixU().leftCols(rank);
  Output(vt, rank, columns) = svd.matrixV().leftCols(rank).transpose();
}

// The eigenvalues, and vectors where u is given, of the Gram matrix of the smaller side.
extern "C" void eigen_gram(const float* a, long rows, long columns, long rank, float* u, float* s, float* vt) {
  const Input matrix(a, rows, columns);
  const bool wide = rows <= columns;
  const long size = wide ? rows : columns;
  Eigen::MatrixXf gram = Eigen::MatrixXf::Zero(size, size);
  if (wide) {
    gram.selfadjointView<Eigen::Lower>().rankUpdate(matrix);
  } else {
    gram.selfadjointView<Eigen::Lower>().rankUpdate(matrix.transpose());
  }
  const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXf> solver(
      gram, u == nullptr ? Eigen::EigenvaluesOnly : Eigen::ComputeEigenvectors);
  const Eigen::VectorXf values = solver.eigenvalues().reverse().head(rank).cwiseMax(1e-30F).cwiseSqrt();
  Eigen::Map<Eigen::VectorXf>(s, rank) = values;
  if (u == nullptr) return;
  const Eigen::MatrixXf vectors = solver.eigenvectors().rowwise().reverse().leftCols(rank);
  const Eigen::VectorXf inverse = values.cwiseInverse();
  if (wide) {
    Output(u, rows, rank) = vectors;
    Output(vt, rank, columns).noalias() = inverse.asDiagonal() * (vectors.transpose() * matrix);
  } else {
    Output(u, rows, rank).noalias() = (matrix * vectors) * inverse.asDiagonal();
    Output(vt, rank, columns) = vectors.transpose();
  }
}
