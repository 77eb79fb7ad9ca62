"""The smallest variant of as many architectures of timm as there are.

`create_model` gives what a user exports: the names, the classes and the activations of timm. Only the image is smaller where the
architecture allows it, because all of it is run many times.
"""

from __future__ import annotations

import torch

from . import torchvision_ops
from .recipe import Recipe, images

torchvision_ops.declare()

import timm
from timm.layers import set_fused_attn

_CONVOLUTIONAL = """
    bat_resnext26ts botnet26t_256 convmixer_768_32 convnext_atto convnext_zepto_rms_ols convnextv2_atto cs3darknet_focus_s
    cs3sedarknet_xdw cspnext_tiny cspresnet50 cspresnext50 darknet17 darknetaa53 densenet121 densenetblur121d dla34 dla46x_c dla60_res2net
    dm_nfnet_f0 dpn48b dpn68 eca_botnext26ts_256 eca_halonext26ts eca_nfnet_l0 eca_resnext26ts ecaresnet26t ecaresnext26t_32x4d
    efficientnet_b0 efficientnet_b0_gn efficientnet_cc_b0_4e efficientnet_es efficientnet_lite0 efficientnetv2_rw_t ese_vovnet19b_dw
    fasternet_t0 fbnetc_100 fbnetv3_b gcresnet33ts gcresnext26ts gernet_s ghostnet_050 ghostnetv2_100 ghostnetv3_050 halonet26t
    hardcorenas_a hgnet_tiny hgnetv2_b0 hrnet_w18_small inception_next_atto inception_resnet_v2 inception_v3 inception_v4
    lambda_resnet26t lamhalobotnet50ts_256 lcnet_035 lcnetv2_small legacy_seresnet18 legacy_xception mambaout_femto mixnet_s
    mnasnet_small mobilenetv1_100 mobilenetv2_035 mobilenetv3_small_050 mobilenetv4_conv_small_035 mobileone_s0 nasnetalarge nf_regnet_b0
    nf_resnet26 nf_seresnet26 pnasnet5large rdnet_tiny regnetv_040 regnetx_002 regnety_002 regnetz_005 regnetz_b16 repghostnet_050
    repvgg_a0 repvit_m0_9 res2net50_26w_4s res2next50 resnest14d resnet10t resnet18d resnet26t resnet50_gn resnet50_clip resnet51q
    resnetaa34d resnetblur18 resnetrs50 resnetv2_18 resnetv2_50x1_bit resnext26ts rexnet_100 sebotnet33ts_256 selecsls42 semnasnet_050
    seresnet33ts seresnext26d_32x4d skresnet18 skresnext50_32x4d spnasnet_100 starnet_s050 tf_efficientnet_lite0 tf_mobilenetv3_small_minimal_100
    tinynet_e tresnet_m vovnet39a wide_resnet50_2 xception41 xception41p
"""
_ATTENTION = """
    beit_base_patch16_224 beitv2_base_patch16_224 caformer_s18 cait_xxs24_224 coat_lite_tiny coat_tiny coatnet_nano_rw_224
    coatnet_rmlp_nano_rw_224 coatnext_nano_rw_224 convformer_s18 convit_tiny cpubone_nano crossvit_9_240 crossvit_9_dagger_240 davit_tiny
    deit3_small_patch16_224 deit_tiny_distilled_patch16_224 deit_tiny_patch16_224 edgenext_xx_small efficientformer_l1 efficientformerv2_s0
    efficientvim_m1 efficientvit_b0 efficientvit_l1 efficientvit_m0 eva02_tiny_patch14_224 fastvit_t8 fastvit_sa12 flexivit_small
    focalnet_tiny_srf gcvit_xxtiny gmixer_12_224 gmlp_ti16_224 hiera_tiny_224 iformer_t levit_128s levit_conv_128s lowformer_b0
    maxvit_pico_rw_256 maxvit_rmlp_pico_rw_256 maxxvit_rmlp_nano_rw_256 maxxvitv2_nano_rw_256 mixer_s32_224 mobilenetv4_hybrid_medium_075
    mobilevit_xxs mobilevitv2_050 mvitv2_tiny nest_tiny nest_tiny_jx nextvit_small pit_ti_224 pit_xs_distilled_224 poolformer_s12
    poolformerv2_s12 pvt_v2_b0 pvt_v2_b2_li resmlp_12_224 sequencer2d_s shvit_s1 swiftformer_xs swin_tiny_patch4_window7_224
    swin_s3_tiny_224 swinv2_cr_tiny_224 swinv2_tiny_window8_256 test_vit test_vit2 test_vit3 test_vit4 tiny_vit_5m_224 tnt_s_patch16_224
    twins_pcpvt_small twins_svt_small visformer_tiny vit_relpos_small_patch16_224 vit_small_patch14_reg4_dinov2
    vit_small_patch16_rope_224 vit_small_patch16_rope_mixed_224 vit_small_resnet26d_224 vit_srelpos_small_patch16_224 vit_tiny_patch16_224
    vit_tiny_r_s16_p8_224 vit_wee_patch16_reg1_gap_256 vitamin_small_224 volo_d1_224 xcit_nano_12_p16_224 xcit_tiny_12_p8_224
"""
# A sample of what the new exporter writes differently: attention, layer normalization, activations, squeeze and excitation.
_DYNAMO = """
    convnext_atto deit_tiny_patch16_224 efficientvit_m0 ghostnet_050 levit_128s lcnet_035 mixer_s32_224 mobilenetv3_small_050 mobilevit_xxs
    nf_resnet26 pit_ti_224 poolformer_s12 regnety_002 resmlp_12_224 resnet10t swin_tiny_patch4_window7_224 test_vit3 xcit_nano_12_p16_224
"""
# The first one that works is taken; None is the size that the model was published for.
_SIZES = (64, 96, 128, 192, 224, None)
# With less, the last feature map is a single pixel, or windows are as large as the map.
_LARGER = {
    "coat_": 128,
    "swin": 112,
    "nasnetalarge": 96,
    "pnasnet": 96,
    "inception": 96,
    "legacy_xception": 96,
    "pvt_v2_b2_li": 224,
}
# Not for the legacy exporter: the Unfold of halos has no dynamic sizes, `rms_norm` has no symbolic function, mixed rotary positions are
# expanded with sizes of the trace, and `col2im` is beyond opset 17.
_DYNAMO_ONLY = (
    "eca_halonext26ts halonet26t lamhalobotnet50ts_256 test_vit4 vit_small_patch16_rope_mixed_224 volo_d1_224".split()
)
# Traced, these pass a tensor for `is_causal`, which fused attention refuses.
_UNFUSED = ("eva02", "vit_small_patch16_rope")


def members() -> list[str]:
    """Names, with the variants, without the family."""
    known = set(timm.list_models())
    names = [name for name in f"{_CONVOLUTIONAL} {_ATTENTION}".split() if name in known and name not in _DYNAMO_ONLY]
    return [*names, *(f"{name}@dynamo" for name in _DYNAMO_ONLY), *(f"{name}@dynamo" for name in _DYNAMO.split())]


def recipe(name: str) -> Recipe:
    """The model `name`, for the smallest image that it accepts."""
    set_fused_attn(not name.startswith(_UNFUSED))
    smallest = next((size for prefix, size in _LARGER.items() if name.startswith(prefix)), 0)
    failures = []
    for size in _SIZES:
        if size is not None and size < smallest:
            continue
        try:
            module, used = _create(name, size)
            with torch.no_grad():
                module(torch.zeros(2, 3, used, used))
        except (AssertionError, IndexError, RuntimeError, TypeError, ValueError, ZeroDivisionError) as error:
            failures.append(f"{size}: {error}")
            continue
        return Recipe(module, images(used))
    message = f"{name} takes no image: {'; '.join(failures)}"
    raise ValueError(message)


def _create(name: str, size: int | None) -> tuple[torch.nn.Module, int]:
    if size is None:
        module = timm.create_model(name, pretrained=False).eval()
        return module, module.default_cfg["input_size"][-1]
    try:
        return timm.create_model(name, pretrained=False, img_size=size).eval(), size
    except TypeError:  # it does not depend on the size, or does not say so
        return timm.create_model(name, pretrained=False).eval(), size
